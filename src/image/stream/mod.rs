//! From compressed bytes to a tar stream: one thread reads and inflates, the other hashes and unpacks.

mod compression;
mod pump;
mod tar_stream;
mod zstd_frame;

use std::io::{self, Read};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{channel, sync_channel};

use sha2::{Digest as _, Sha256};

pub use self::compression::{Compression, inflate_start};
pub use self::tar_stream::TarStream;
use super::turns::Turn;
use super::{Digest, ImageError, UnpackLimits};

/// What one thread hands to the other at a time: large enough that the handing over costs nothing, and small enough to stay in
/// the processor's cache.
const CHUNK: usize = 256 << 10;
/// Chunks on the way; with them a layer takes about 2 MiB of memory, however large it is.
const CHUNKS: usize = 6;

/// What went by on the compressed side.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub digest: Digest,
    pub size: u64,
}

/// Where a stream comes from and what it counts towards.
pub struct Feed<'a, R> {
    pub raw: R,
    pub compression: Compression,
    pub limits: &'a UnpackLimits,
    /// Uncompressed bytes of all layers of the image so far.
    pub image_bytes: &'a AtomicU64,
    /// Told of each piece of the compressed side that was read; an error ends the stream.
    pub on_read: &'a (dyn Fn(u64) -> io::Result<()> + Sync),
    /// Waits until there is memory for a window of so many bytes.
    pub reserve: &'a (dyn Fn(u64) -> Option<Turn> + Sync),
}

/// Runs `consume` on the tar stream while another thread reads and inflates it. Both sides have come to an end when this
/// returns; a consumer that fails stops the reader at its next chunk.
pub fn run<R: Read + Send, T>(
    feed: Feed<'_, R>,
    consume: impl FnOnce(&mut TarStream<'_>) -> Result<T, ImageError>,
) -> Result<(T, Passed), ImageError> {
    let compressed = AtomicU64::new(0);
    let (limits, image_bytes) = (feed.limits, feed.image_bytes);
    std::thread::scope(|scope| {
        let (chunks_in, chunks) = sync_channel(CHUNKS);
        let (free, free_out) = channel();
        let pump = scope.spawn(|| pump::pump(feed, &compressed, chunks_in, free_out));
        let mut stream = TarStream {
            chunks,
            free,
            chunk: Vec::new(),
            at: 0,
            hasher: Sha256::new(),
            size: 0,
            compressed: &compressed,
            image_bytes,
            limits,
        };
        let outcome = consume(&mut stream);
        drop(stream);
        let passed = pump.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((outcome?, passed))
    })
}
