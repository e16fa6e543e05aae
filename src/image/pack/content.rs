//! The hash of a file's content, the same however the file lies on the disk and in whatever pieces it comes.
//!
//! Blocks of zeros are left out, so that a hole costs nothing. It is XXH3, which finds damage at the speed of memory; what keeps a
//! stranger's content out is the digest of the layer, which was verified before.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use nix::sys::stat::FileStat;
use twox_hash::XxHash3_128;

use super::segments;

const BLOCK: u64 = 64 << 10;
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

pub type ContentHash = [u8; 16];

/// Takes a file in order.
pub struct Content {
    hasher: XxHash3_128,
    at: u64,
    /// Something of the current block was not zero, so the block counts.
    counts: bool,
}

impl Content {
    pub fn new() -> Self {
        Self { hasher: XxHash3_128::new(), at: 0, counts: false }
    }

    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (within, room) = (self.at % BLOCK, BLOCK - self.at % BLOCK);
            // At most the length, and at most a block.
            let (piece, rest) = bytes.split_at(bytes.len().min(room as usize));
            if !self.counts && *piece != ZEROS[..piece.len()] {
                self.hasher.write(&(self.at / BLOCK).to_le_bytes());
                self.hasher.write(&ZEROS[..within as usize]);
                self.counts = true;
            }
            if self.counts {
                self.hasher.write(piece);
            }
            self.pass(piece.len() as u64);
            bytes = rest;
        }
    }

    /// A hole of this length.
    pub fn zeros(&mut self, mut count: u64) {
        let room = BLOCK - self.at % BLOCK;
        if self.counts {
            let rest = count.min(room);
            // At most a block.
            self.hasher.write(&ZEROS[..rest as usize]);
            self.pass(rest);
            count -= rest;
        }
        if count > 0 {
            self.at += count;
        }
    }

    fn pass(&mut self, count: u64) {
        self.at += count;
        self.counts &= !self.at.is_multiple_of(BLOCK);
    }

    pub fn finish(mut self) -> ContentHash {
        self.hasher.write(&self.at.to_le_bytes());
        self.hasher.finish_128().to_le_bytes()
    }
}

/// Reads a file that is open at its beginning.
pub fn of_file(file: &mut File, stat: &FileStat) -> io::Result<ContentHash> {
    let mut content = Content::new();
    let mut buffer = vec![0; 256 << 10];
    let Some(segments) = segments::of(file, stat)? else {
        feed(&mut content, file, u64::MAX, &mut buffer)?;
        return Ok(content.finish());
    };
    for segment in segments {
        content.zeros(segment.offset.saturating_sub(content.at));
        file.seek(SeekFrom::Start(segment.offset))?;
        feed(&mut content, file, segment.length, &mut buffer)?;
    }
    Ok(content.finish())
}

/// To the end of the file, or until `left` bytes are read.
fn feed(content: &mut Content, file: &mut File, mut left: u64, buffer: &mut [u8]) -> io::Result<()> {
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        // No more than the length of the buffer.
        match file.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(count) => {
                content.write(&buffer[..count]);
                left -= count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> ContentHash {
        let mut content = Content::new();
        content.write(bytes);
        content.finish()
    }

    #[test]
    fn every_byte_and_every_length_counts() {
        let block = BLOCK as usize;
        let mut seen = vec![whole(b"")];
        for length in [1, block - 1, block, block + 1, 3 * block] {
            seen.push(whole(&vec![0; length]));
            for at in [0, length / 2, length - 1] {
                let mut bytes = vec![0; length];
                bytes[at] = 1;
                seen.push(whole(&bytes));
            }
        }
        // The positions in a file of one byte are one.
        seen.sort_unstable();
        let before = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), before - 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pieces_and_holes_make_no_difference(parts in prop::collection::vec((any::<bool>(), 0_usize..200_000), 0..6)) {
            let (mut bytes, mut pieces) = (Vec::new(), Content::new());
            for (hole, length) in parts {
                if hole {
                    bytes.resize(bytes.len() + length, 0);
                    pieces.zeros(length as u64);
                } else {
                    let data: Vec<u8> = (0..length).map(|at| (at / 50_000) as u8).collect();
                    pieces.write(&data);
                    bytes.extend_from_slice(&data);
                }
            }
            prop_assert_eq!(pieces.finish(), whole(&bytes));
        }
    }
}
