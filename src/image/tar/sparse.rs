//! Sparse files: where the data lies in the file.

use super::{BLOCK, number};

/// A run of data in a sparse file; what lies between two runs is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub offset: u64,
    pub length: u64,
}

/// Collects regions in order and refuses what overlaps.
#[derive(Debug)]
pub struct Map {
    regions: Vec<Region>,
    end: u64,
    stored: u64,
    limit: usize,
}

impl Map {
    pub fn new(limit: usize) -> Self {
        Self { regions: Vec::new(), end: 0, stored: 0, limit }
    }

    pub fn push(&mut self, offset: u64, length: u64) -> Result<(), &'static str> {
        if offset < self.end {
            return Err("the regions of the sparse file overlap or are out of order");
        }
        self.end = offset.checked_add(length).ok_or("a region of the sparse file ends beyond 64 bits")?;
        // Cannot overflow: regions do not overlap, so their sum is at most `end`.
        self.stored += length;
        if length > 0 {
            self.regions.push(Region { offset, length });
        }
        if self.regions.len() > self.limit { Err("the sparse file has too many regions") } else { Ok(()) }
    }

    /// Checks the whole against the size of the file and the size of its data in the archive.
    pub fn finish(self, real_size: u64, stored: u64) -> Result<Vec<Region>, &'static str> {
        if self.end > real_size {
            return Err("a region of the sparse file lies beyond its end");
        }
        if self.stored != stored {
            return Err("the regions of the sparse file are not as long as its data");
        }
        Ok(self.regions)
    }

    /// One table of an old GNU header: pairs of 12-byte numbers, ended by an empty one.
    pub fn push_table(&mut self, table: &[tar::GnuSparseHeader]) -> Result<(), &'static str> {
        for entry in table {
            if entry.is_empty() {
                continue;
            }
            let number = |field| number::unsigned(field).ok_or("the map of the sparse file holds no numbers");
            self.push(number(&entry.offset)?, number(&entry.numbytes)?)?;
        }
        Ok(())
    }
}

/// The map of the PAX format 1.0: decimal numbers, one a line, in front of the data, padded to whole blocks.
#[derive(Debug, Default)]
pub struct MapText {
    count: Option<u64>,
    offset: Option<u64>,
    digits: Vec<u8>,
}

impl MapText {
    /// Takes one block; `true` when the map is complete.
    pub fn take(&mut self, block: &[u8; BLOCK], map: &mut Map) -> Result<bool, &'static str> {
        for byte in block {
            if self.count == Some(0) {
                return Ok(true);
            }
            match byte {
                b'\n' => self.number(map)?,
                b'0'..=b'9' if self.digits.len() < 20 => self.digits.push(*byte),
                _ => return Err("the map of the sparse file holds no numbers"),
            }
        }
        Ok(self.count == Some(0))
    }

    fn number(&mut self, map: &mut Map) -> Result<(), &'static str> {
        let number = number::decimal(&self.digits).ok_or("the map of the sparse file holds no numbers")?;
        self.digits.clear();
        match (self.count, self.offset.take()) {
            (None, _) => self.count = Some(number),
            (Some(_), None) => self.offset = Some(number),
            (Some(count), Some(offset)) => {
                map.push(offset, number)?;
                self.count = Some(count.saturating_sub(1));
            }
        }
        Ok(())
    }
}
