//! The unpacking side: counts and hands on.

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use crate::image::tar::Input;
use crate::image::{ImageError, UnpackLimits};

/// The tar stream, to be read once.
#[derive(Debug)]
pub struct TarStream<'a> {
    pub(super) chunks: Receiver<io::Result<Vec<u8>>>,
    pub(super) free: Sender<Vec<u8>>,
    pub(super) chunk: Vec<u8>,
    pub(super) at: usize,
    pub(super) size: u64,
    pub(super) compressed: &'a AtomicU64,
    pub(super) image_bytes: &'a AtomicU64,
    pub(super) limits: &'a UnpackLimits,
}

impl TarStream<'_> {
    fn next_chunk(&mut self) -> io::Result<()> {
        // The pump may be gone already; then nobody needs the buffer.
        drop(self.free.send(std::mem::take(&mut self.chunk)));
        self.at = 0;
        let Ok(chunk) = self.chunks.recv() else { return Ok(()) };
        self.chunk = chunk?;
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

impl Input for TarStream<'_> {
    fn compressed(&self) -> Option<u64> {
        Some(self.compressed.load(Ordering::Relaxed))
    }
}
