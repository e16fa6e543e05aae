//! A stream that must be read at more than one place becomes a file.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::sync::atomic::AtomicU64;

use crate::image::stream::{self, Compression, Feed, TarStream};
use crate::image::{ImageError, ImageStore};

/// Decompresses `raw` into a file without a name, within the limits of an image.
pub fn spool(raw: impl Read + Send, compression: Compression, store: &ImageStore) -> Result<File, ImageError> {
    let mut file = store.scratch_file()?;
    let image_bytes = AtomicU64::new(0);
    let reserve = |window| store.reserve("", window);
    let (limits, on_read) = (store.limits(), |_| Ok(()));
    let feed = Feed { raw, compression, limits, image_bytes: &image_bytes, on_read: &on_read, reserve: &reserve };
    stream::run(feed, |tar| copy(tar, &mut file))?;
    Ok(file)
}

fn copy(tar: &mut TarStream<'_>, file: &mut File) -> Result<(), ImageError> {
    loop {
        let chunk = tar.fill_buf().map_err(|error| ImageError::from_read(error, "the archive"))?;
        let count = chunk.len();
        if count == 0 {
            return Ok(());
        }
        file.write_all(chunk).map_err(|error| ImageError::io("write the archive to the store", error))?;
        tar.consume(count);
    }
}
