//! From compressed bytes to a tar stream: one thread reads and inflates, one hashes, and one unpacks.

mod compression;
mod pump;
mod tar_stream;
mod zstd_frame;

use std::io::{self, Read};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

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

/// What went by.
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

/// What came out of a stream, and what went by on both sides of the decoder.
pub struct Outcome<T> {
    pub made: T,
    pub tar: Passed,
    pub blob: Passed,
}

/// Runs `consume` on the tar stream while one thread reads and inflates it and another hashes it. All have come to an end when
/// this returns; a consumer that fails stops the others at their next chunk. It has to read to the end of the stream, or what is
/// said of the stream is not of all of it.
pub fn run<R: Read + Send, T>(
    feed: Feed<'_, R>,
    consume: impl FnOnce(&mut TarStream<'_>) -> Result<T, ImageError>,
) -> Result<Outcome<T>, ImageError> {
    let compressed = AtomicU64::new(0);
    let (limits, image_bytes) = (feed.limits, feed.image_bytes);
    std::thread::scope(|scope| {
        let (inflated_in, inflated) = sync_channel(CHUNKS / 2);
        let (hashed_in, hashed) = sync_channel(CHUNKS / 2);
        let (free, free_out) = channel();
        let pump = scope.spawn(|| pump::pump(feed, &compressed, inflated_in, free_out));
        let hasher = scope.spawn(|| hash(inflated, hashed_in));
        let compressed = &compressed;
        let mut stream =
            TarStream { chunks: hashed, free, chunk: Vec::new(), at: 0, size: 0, compressed, image_bytes, limits };
        let made = consume(&mut stream);
        drop(stream);
        let tar = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let blob = pump.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Outcome { made: made?, tar, blob })
    })
}

/// Hashes what goes by, until the end or until nobody takes it any more.
fn hash(chunks: Receiver<io::Result<Vec<u8>>>, hashed: SyncSender<io::Result<Vec<u8>>>) -> Passed {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    for chunk in chunks {
        if let Ok(bytes) = &chunk {
            hasher.update(bytes);
            size += bytes.len() as u64;
        }
        if hashed.send(chunk).is_err() {
            break;
        }
    }
    Passed { digest: Digest::of_hasher(hasher), size }
}
