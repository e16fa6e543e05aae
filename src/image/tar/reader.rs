//! The walk over an archive's entries.

use super::header::{BlockKind, Fields};
use super::member::{Extended, Member};
use super::pax::{self, Pax};
use super::{BLOCK, Input};
use crate::image::{ImageError, UnpackLimits};

/// Reads entries one after the other; data that was not read is skipped.
#[derive(Debug)]
pub struct TarReader<'l, R> {
    input: R,
    pub(super) at: String,
    pub(super) limits: &'l UnpackLimits,
    /// Data of the current entry that was not read, and the padding after it.
    pub(super) remaining: u64,
    pub(super) padding: u64,
    end: Option<End>,
}

/// How an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By a block of zeros, as it should.
    Marker,
    /// Where a header could have followed: perhaps cut off.
    Bare,
}

impl<'l, R: Input> TarReader<'l, R> {
    /// `at` names the archive in errors.
    pub fn new(input: R, at: impl Into<String>, limits: &'l UnpackLimits) -> Self {
        Self { input, at: at.into(), limits, remaining: 0, padding: 0, end: None }
    }

    pub fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// The next entry, or `None` at the end of the archive.
    pub fn next(&mut self) -> Result<Option<Member>, ImageError> {
        let mut extended = Extended::default();
        self.skip_data()?;
        loop {
            let Some(block) = self.header_block()? else {
                return if extended.is_empty() { Ok(None) } else { Err(self.bad("it ends after an extended header")) };
            };
            let at = self.at.clone();
            let fields = Fields::parse(&block, &at)?;
            let slot = match fields.kind {
                BlockKind::LongName => &mut extended.name,
                BlockKind::LongLink => &mut extended.link,
                BlockKind::Pax => {
                    let pax = self.read_pax(fields.size)?;
                    if extended.pax.replace(pax).is_some() {
                        return Err(self.bad("two PAX headers describe one entry"));
                    }
                    continue;
                }
                BlockKind::PaxGlobal => {
                    let bytes = self.read_extended(fields.size)?;
                    pax::check_global(&bytes).map_err(|problem| self.bad(problem))?;
                    continue;
                }
                BlockKind::Entry(_) | BlockKind::GnuSparse => return self.member(&fields, extended).map(Some),
            };
            if slot.is_some() {
                return Err(self.bad("two long names describe one entry"));
            }
            *slot = Some(self.read_long_name(fields.size)?);
        }
    }

    /// Data of the current entry that lies in the buffer; empty when all was read. Take it with [`consume`](Self::consume).
    pub fn data(&mut self) -> Result<&[u8], ImageError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let want = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let at = &self.at;
        let buffer = self.input.fill_buf().map_err(|error| ImageError::from_read(error, at))?;
        if buffer.is_empty() {
            return Err(ImageError::bad(at, "it ends within an entry's data"));
        }
        // The range is within the buffer: it is the smaller of the two lengths.
        Ok(&buffer[..buffer.len().min(want)])
    }

    /// Takes `count` bytes that [`data`](Self::data) has shown.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.remaining -= count as u64;
    }

    pub fn skip_data(&mut self) -> Result<(), ImageError> {
        let count = std::mem::take(&mut self.remaining).checked_add(std::mem::take(&mut self.padding));
        let count = count.ok_or_else(|| self.bad("an entry ends beyond 64 bits"))?;
        self.input.skip(count).map_err(|error| ImageError::from_read(error, &self.at))
    }

    /// Reads to the end of the input, where only zeros may follow. `true` if the archive was ended as it should be.
    pub fn finish(&mut self) -> Result<bool, ImageError> {
        while self.end.is_none() {
            self.next()?;
        }
        loop {
            let buffer = self.input.fill_buf().map_err(|error| ImageError::from_read(error, &self.at))?;
            let count = buffer.len();
            if count == 0 {
                return Ok(self.end == Some(End::Marker));
            }
            if buffer.iter().any(|byte| *byte != 0) {
                return Err(self.bad("data follows the end of the archive"));
            }
            self.input.consume(count);
        }
    }

    fn bad(&self, problem: impl Into<String>) -> ImageError {
        ImageError::bad(&self.at, problem)
    }

    /// The next block that is a header; `None` at the end.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, ImageError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let Some(block) = self.block()? else {
            self.end = Some(End::Bare);
            return Ok(None);
        };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        if self.block()?.is_some_and(|second| second.iter().any(|byte| *byte != 0)) {
            return Err(self.bad("data follows the end of the archive"));
        }
        self.end = Some(End::Marker);
        Ok(None)
    }

    /// One block, or `None` if the input ends before it.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ImageError> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let buffer = self.input.fill_buf().map_err(|error| ImageError::from_read(error, &self.at))?;
            let count = buffer.len().min(BLOCK - have);
            match count {
                0 if have == 0 => return Ok(None),
                0 => return Err(self.bad("it ends within a block")),
                // Both ranges are `count` long and within their slices.
                _ => block[have..have + count].copy_from_slice(&buffer[..count]),
            }
            self.input.consume(count);
            have += count;
        }
        Ok(Some(block))
    }

    fn read_extended(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        let limit = self.limits.extended_header_bytes;
        if size > limit {
            return Err(ImageError::TooLarge { at: self.at.clone(), what: "bytes of an extended header", limit });
        }
        self.remaining = size;
        self.padding = padding(size);
        let mut bytes = Vec::new();
        while self.remaining > 0 {
            let data = self.data()?;
            bytes.extend_from_slice(data);
            let count = data.len();
            self.consume(count);
        }
        self.skip_data()?;
        Ok(bytes)
    }

    fn read_pax(&mut self, size: u64) -> Result<Pax, ImageError> {
        let bytes = self.read_extended(size)?;
        Pax::parse(&bytes).map_err(|problem| self.bad(problem))
    }

    /// GNU ends the name by a NUL; whatever follows one would be invisible to some readers.
    fn read_long_name(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = self.read_extended(size)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        if bytes.contains(&0) { Err(self.bad("a long name holds a NUL")) } else { Ok(bytes) }
    }
}

pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
