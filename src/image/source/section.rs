//! A range of a file, read without moving the file's own offset: several threads may read one archive.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::image::ImageError;
use crate::image::tar::Input;

const BUFFER: usize = 16 << 10;

#[derive(Debug, Clone)]
pub struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Section {
    pub fn whole(file: Arc<File>) -> Result<Self, ImageError> {
        let metadata = file.metadata().map_err(|error| ImageError::io("look at the archive", error))?;
        Ok(Self { file, position: 0, end: metadata.len() })
    }

    /// The range of `length` bytes at `offset` of this one.
    pub fn part(&self, offset: u64, length: u64) -> Option<Self> {
        let position = self.position.checked_add(offset)?;
        let end = position.checked_add(length).filter(|end| *end <= self.end)?;
        Some(Self { file: Arc::clone(&self.file), position, end })
    }

    pub fn len(&self) -> u64 {
        self.end - self.position
    }

    /// The first bytes, without moving on.
    pub fn peek(&self, count: usize) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        self.clone().take(count as u64).read_to_end(&mut start)?;
        Ok(start)
    }
}

impl Read for Section {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let want = into.len().min(usize::try_from(self.len()).unwrap_or(usize::MAX));
        // `want` is at most the length of the buffer.
        let count = self.file.read_at(&mut into[..want], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A section as a tar archive whose data is passed over by seeking.
#[derive(Debug)]
pub struct SeekingInput {
    section: Section,
    start: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl SeekingInput {
    pub fn new(section: Section) -> Self {
        Self { start: section.position, section, buffer: Vec::new(), at: 0 }
    }

    /// How far the reader has come, from the start of the section.
    pub fn position(&self) -> u64 {
        self.section.position - self.start - (self.buffer.len() - self.at) as u64
    }
}

impl Read for SeekingInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for SeekingInput {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.buffer.len() {
            self.buffer.resize(BUFFER, 0);
            self.at = 0;
            let count = self.section.read(&mut self.buffer);
            self.buffer.truncate(*count.as_ref().unwrap_or(&0));
            count?;
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Input for SeekingInput {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let buffered = (self.buffer.len() - self.at) as u64;
        if count <= buffered {
            self.at += usize::try_from(count).unwrap_or(usize::MAX);
            return Ok(());
        }
        let beyond = count - buffered;
        if beyond > self.section.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.section.position += beyond;
        self.buffer.clear();
        self.at = 0;
        Ok(())
    }
}
