//! The reading side: reads, hashes and inflates.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use sha2::{Digest as _, Sha256};

use super::compression::zstd_decoder;
use super::{CHUNK, Compression, Feed, Passed, zstd_frame};
use crate::image::turns::Turn;
use crate::image::{Digest, ImageError, UnpackLimits};

const RAW_BUFFER: usize = 256 << 10;

/// Hashes and counts what is read through it.
struct Counted<'a, R> {
    inner: R,
    hasher: Sha256,
    size: u64,
    seen: &'a AtomicU64,
    on_read: &'a (dyn Fn(u64) -> io::Result<()> + Sync),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        // `read` returns no more than the buffer holds.
        self.hasher.update(&into[..count]);
        self.size += count as u64;
        self.seen.fetch_add(count as u64, Ordering::Relaxed);
        (self.on_read)(count as u64)?;
        Ok(count)
    }
}

/// Reads to the end of the input, or until the other side has gone.
pub(super) fn pump<R: Read>(
    feed: Feed<'_, R>,
    seen: &AtomicU64,
    chunks: SyncSender<io::Result<Vec<u8>>>,
    free: Receiver<Vec<u8>>,
) -> Passed {
    let raw = Counted { inner: feed.raw, hasher: Sha256::new(), size: 0, seen, on_read: feed.on_read };
    let mut raw = BufReader::with_capacity(RAW_BUFFER, raw);
    match feed.compression {
        Compression::None => forward(&mut raw, &chunks, &free),
        // Several members in a row are one stream; anything else after a member is an error.
        Compression::Gzip => forward(&mut flate2::bufread::MultiGzDecoder::new(&mut raw), &chunks, &free),
        Compression::Zstd => match unzstd(&mut raw, feed.limits, feed.reserve) {
            Ok((mut decoder, _memory)) => forward(&mut decoder, &chunks, &free),
            // The receiver is gone only if it failed, and then it reports.
            Err(error) => drop(chunks.send(Err(error))),
        },
    }
    let raw = raw.into_inner();
    Passed { digest: Digest::of_hasher(raw.hasher), size: raw.size }
}

type Unzstd<'a, R> = zstd::stream::read::Decoder<'static, Chain<Cursor<Vec<u8>>, &'a mut R>>;

/// The decoder, and the memory that it may take.
fn unzstd<'a, R: BufRead>(
    raw: &'a mut R,
    limits: &UnpackLimits,
    reserve: &dyn Fn(u64) -> Option<Turn>,
) -> io::Result<(Unzstd<'a, R>, Option<Turn>)> {
    let mut start = Vec::new();
    raw.by_ref().take(zstd_frame::LONGEST_HEADER).read_to_end(&mut start)?;
    let window_log = zstd_frame::window_log(&start, limits.zstd_window_log)?;
    let memory = reserve(1 << window_log);
    let decoder = zstd_decoder(Cursor::new(start).chain(raw), window_log)?;
    Ok((decoder, memory))
}

/// Ends at the end of the input, at an error, or when the other side has gone.
fn forward(from: &mut dyn Read, chunks: &SyncSender<io::Result<Vec<u8>>>, free: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = match free.try_recv() {
            Ok(chunk) => chunk,
            Err(TryRecvError::Empty) => vec![0; CHUNK],
            Err(TryRecvError::Disconnected) => return,
        };
        let (filled, error) = fill(from, &mut chunk);
        chunk.truncate(filled);
        let ended = filled < CHUNK;
        if filled > 0 && chunks.send(Ok(chunk)).is_err() {
            return;
        }
        if let Some(error) = error {
            // The receiver is gone only if it failed, and then it reports.
            drop(chunks.send(Err(error)));
            return;
        }
        if ended {
            return;
        }
    }
}

fn fill(from: &mut dyn Read, chunk: &mut Vec<u8>) -> (usize, Option<io::Error>) {
    chunk.resize(CHUNK, 0);
    let mut filled = 0;
    while filled < CHUNK {
        // `filled` is below the length of the chunk.
        match from.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(undecodable(error))),
        }
    }
    (filled, None)
}

/// Errors of the decoders speak of the input; those with an errno speak of the host.
fn undecodable(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() || error.get_ref().is_some_and(|inner| inner.is::<ImageError>()) {
        return error;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ImageError::bad("the compressed data", "it ends too early").into(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other => {
            ImageError::bad("the compressed data", format!("it cannot be decompressed: {error}")).into()
        }
        _ => error,
    }
}
