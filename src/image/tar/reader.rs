//! The walk over an archive's entries.

use std::io::{self, BufRead};

use super::header::{BlockKind, Fields};
use super::pax::{self, Pax};
use super::sparse::{Map, MapText};
use super::{BLOCK, Kind, Region, number, shown};
use crate::image::{ImageError, UnpackLimits};

/// The largest size that the octal field of a header can say; a PAX size below it has no reason to be there.
const OCTAL_MAX: u64 = 0o77_777_777_777;

/// One entry, with everything that its extended headers say applied.
#[derive(Debug)]
pub struct Member {
    pub kind: Kind,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: (i64, u32),
    /// Bytes of data in the archive.
    pub stored: u64,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Where the data belongs, for a sparse file.
    pub regions: Option<Vec<Region>>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub dropped_xattrs: u64,
}

/// Reads entries one after the other; data that was not read is skipped.
#[derive(Debug)]
pub struct TarReader<'l, R> {
    input: R,
    at: String,
    limits: &'l UnpackLimits,
    /// Data of the current entry that was not read, and the padding after it.
    remaining: u64,
    padding: u64,
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

/// Extended headers seen before an entry.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl Extended {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

/// Where an archive is read from.
pub trait Input: BufRead {
    /// Passes over `count` bytes, which must be there.
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let have = self.fill_buf()?.len();
            if have == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = have.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(step);
            count -= step as u64;
        }
        Ok(())
    }
}

impl Input for &[u8] {}

impl<T: Input> Input for &mut T {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        T::skip(self, count)
    }
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
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ImageError> {
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

    fn member(&mut self, fields: &Fields<'_>, extended: Extended) -> Result<Member, ImageError> {
        let pax = extended.pax.unwrap_or_default();
        let at = format!("{}, entry {}", self.at, shown(pax.path.as_ref().unwrap_or(&fields.name)));
        let bad = |problem: &str| ImageError::bad(&at, problem);
        if (extended.name.is_some() && pax.path.is_some()) || (extended.link.is_some() && pax.linkpath.is_some()) {
            return Err(bad("a GNU and a PAX header both give its name"));
        }
        let stored = agreed_size(fields.size, pax.size).map_err(bad)?;
        let header = fields.header.as_old();
        let kind = match fields.kind {
            BlockKind::Entry(kind) => kind,
            _ => Kind::File,
        };
        if kind != Kind::File && stored != 0 {
            return Err(bad("a link, directory or device says that it has data"));
        }
        // Also where a PAX record overrides it: other readers refuse what is no number.
        let mtime = number::signed(&header.mtime).ok_or_else(|| bad("its time is not a number"))?;
        let mut member = Member {
            kind,
            name: pax.path.or(extended.name).unwrap_or_else(|| fields.name.clone()),
            link: pax.linkpath.or(extended.link).unwrap_or_else(|| fields.link.clone()),
            mode: u32::try_from(fields.number(&header.mode, "mode", &at)? & 0o7777).unwrap_or(0),
            uid: pax.uid.unwrap_or(fields.number(&header.uid, "uid", &at)?),
            gid: pax.gid.unwrap_or(fields.number(&header.gid, "gid", &at)?),
            mtime: pax.mtime.unwrap_or((mtime, 0)),
            stored,
            size: stored,
            regions: None,
            xattrs: pax.xattrs,
            dropped_xattrs: pax.dropped,
        };
        self.remaining = stored;
        self.padding = padding(stored);
        match (fields.kind == BlockKind::GnuSparse, pax.sparse.is_present()) {
            (true, true) => return Err(bad("a GNU and a PAX header both make it sparse")),
            (true, false) => self.gnu_sparse(fields, &mut member)?,
            (false, true) => self.pax_sparse(pax.sparse, &mut member)?,
            (false, false) => {}
        }
        Ok(member)
    }

    /// The map begins in the header and goes on in blocks of its own, which its size does not count.
    fn gnu_sparse(&mut self, fields: &Fields<'_>, member: &mut Member) -> Result<(), ImageError> {
        let at = format!("{}, entry {}", self.at, shown(&member.name));
        let bad = |problem: &str| ImageError::bad(&at, problem);
        let header = fields.header.as_gnu().ok_or_else(|| bad("it is sparse, but the header is not GNU's"))?;
        let mut map = Map::new(self.limits.sparse_regions);
        map.push_table(&header.sparse).map_err(bad)?;
        let mut extended = header.isextended != [0];
        while extended {
            let block = self.block()?.ok_or_else(|| bad("it ends within the map of a sparse file"))?;
            let mut table = tar::GnuExtSparseHeader::new();
            table.as_mut_bytes().copy_from_slice(&block);
            map.push_table(&table.sparse).map_err(bad)?;
            extended = table.isextended != [0];
        }
        member.size = fields.number(&header.realsize, "real size", &at)?;
        member.regions = Some(map.finish(member.size, member.stored).map_err(bad)?);
        Ok(())
    }

    /// Format 1.0: the map lies in front of the data and is counted by its size.
    fn pax_sparse(&mut self, sparse: pax::PaxSparse, member: &mut Member) -> Result<(), ImageError> {
        let at = format!("{}, entry {}", self.at, shown(&member.name));
        let bad = |problem: &str| ImageError::bad(&at, problem);
        let (Some(1), Some(0), Some(name), Some(real_size), false, Kind::File) =
            (sparse.major, sparse.minor, sparse.name, sparse.realsize, sparse.old_format, member.kind)
        else {
            return Err(bad("sparse files are supported in the old GNU format and in the PAX format 1.0 only"));
        };
        member.name = name;
        member.size = real_size;
        let mut map = Map::new(self.limits.sparse_regions);
        let mut text = MapText::default();
        loop {
            if self.remaining < BLOCK as u64 {
                return Err(bad("the map of the sparse file is longer than its data"));
            }
            let block = self.block()?.ok_or_else(|| bad("it ends within the map of a sparse file"))?;
            self.remaining -= BLOCK as u64;
            if text.take(&block, &mut map).map_err(bad)? {
                break;
            }
        }
        member.stored = self.remaining;
        member.regions = Some(map.finish(real_size, member.stored).map_err(bad)?);
        Ok(())
    }
}

/// The PAX size wins where it has a reason to be there: the header's field could not hold it. Anywhere else the two must
/// agree, because readers differ in which one they believe, and the difference is where entries hide.
fn agreed_size(header: u64, pax: Option<u64>) -> Result<u64, &'static str> {
    match pax {
        Some(size) if size != header && size <= OCTAL_MAX => {
            Err("its header and its PAX record disagree about its size")
        }
        Some(size) => Ok(size),
        None => Ok(header),
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
