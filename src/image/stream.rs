//! From compressed bytes to a tar stream: one thread reads and inflates, the other hashes and unpacks.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};

use sha2::{Digest as _, Sha256};

use super::tar::Input;
use super::{Digest, ImageError, UnpackLimits};

/// What one thread hands to the other at a time: large enough that the handing over costs nothing.
const CHUNK: usize = 1 << 20;
/// Chunks on the way; with them a layer takes about 6 MiB of memory, however large it is.
const CHUNKS: usize = 4;
const RAW_BUFFER: usize = 256 << 10;

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Known by the first bytes; `Err` names a format that is known and not supported.
    pub fn detect(start: &[u8]) -> Result<Self, &'static str> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A frame, or a frame to be skipped (0x50 to 0x5f), which seekable archives begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Err("it is compressed with xz; gzip and zstd are supported"),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err("it is compressed with bzip2; gzip and zstd are supported"),
            _ => Ok(Self::None),
        }
    }
}

/// What went by on the compressed side.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub digest: Digest,
    pub size: u64,
}

/// The reading side: hashes and counts what it reads.
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

/// The unpacking side.
#[derive(Debug)]
pub struct TarStream<'a> {
    chunks: Receiver<io::Result<Vec<u8>>>,
    free: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    hasher: Sha256,
    size: u64,
    compressed: &'a AtomicU64,
    image_bytes: &'a AtomicU64,
    limits: &'a UnpackLimits,
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
        let pump = scope.spawn(|| pump(feed, &compressed, chunks_in, free_out));
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

fn pump<R: Read>(
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
        Compression::Zstd => match zstd_decoder(&mut raw, feed.limits.zstd_window_log) {
            Ok(mut decoder) => forward(&mut decoder, &chunks, &free),
            // The receiver is gone only if it failed, and then it reports.
            Err(error) => drop(chunks.send(Err(error))),
        },
    }
    let raw = raw.into_inner();
    Passed { digest: Digest::of_hasher(raw.hasher), size: raw.size }
}

/// The first bytes of the tar stream, as far as the first bytes of the compressed one give them.
pub fn inflate_start(start: &[u8], compression: Compression, limit: usize, limits: &UnpackLimits) -> Vec<u8> {
    let mut inflated = Vec::new();
    let mut read = |decoder: &mut dyn Read| {
        // It ends in the middle, so the error at the end says nothing; what came before it is there.
        drop(decoder.take(limit as u64).read_to_end(&mut inflated));
    };
    match compression {
        Compression::None => return start.to_vec(),
        Compression::Gzip => read(&mut flate2::bufread::MultiGzDecoder::new(start)),
        Compression::Zstd => {
            if let Ok(mut decoder) = zstd_decoder(start, limits.zstd_window_log) {
                read(&mut decoder);
            }
        }
    }
    inflated
}

fn zstd_decoder<R: BufRead>(raw: R, window_log: u32) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    decoder.window_log_max(window_log)?;
    Ok(decoder)
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

impl TarStream<'_> {
    /// The digest and size of everything that went by. Call it at the end of the stream.
    pub fn passed(&mut self) -> Passed {
        Passed { digest: Digest::of_hasher(std::mem::take(&mut self.hasher)), size: self.size }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        // The pump may be gone already; then nobody needs the buffer.
        drop(self.free.send(std::mem::take(&mut self.chunk)));
        self.at = 0;
        let Ok(chunk) = self.chunks.recv() else { return Ok(()) };
        self.chunk = chunk?;
        self.hasher.update(&self.chunk);
        self.size += self.chunk.len() as u64;
        self.check_limits()
    }

    fn check_limits(&self) -> io::Result<()> {
        let (limits, added) = (self.limits, self.chunk.len() as u64);
        let of_image = self.image_bytes.fetch_add(added, Ordering::Relaxed) + added;
        let too_large = |what, limit| ImageError::TooLarge { at: "a layer".into(), what, limit }.into();
        if self.size > limits.layer_bytes {
            return Err(too_large("uncompressed bytes", limits.layer_bytes));
        }
        if of_image > limits.image_bytes {
            return Err(too_large("uncompressed bytes of all layers", limits.image_bytes));
        }
        let compressed = self.compressed.load(Ordering::Relaxed);
        if self.size > limits.ratio_from && self.size / limits.ratio > compressed {
            return Err(too_large("uncompressed bytes for each compressed one", limits.ratio));
        }
        Ok(())
    }
}

impl Read for TarStream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for TarStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.chunk.len() {
            self.next_chunk()?;
        }
        Ok(self.chunk.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Input for TarStream<'_> {}
