//! Where the data of a sparse file lies.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::unistd::{Whence, lseek};

use crate::image::tar::BLOCK;

/// A file with less than this to leave out is written as a whole: every reader of archives can take that.
const WORTH_IT: u64 = 1 << 20;

/// A run of data; what lies between two is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// The runs of data in the file (`SEEK_DATA` and `SEEK_HOLE`, `lseek(2)`), where its holes are worth to be left out. The last one
/// ends the file, and may be empty.
pub fn of(file: &File, stat: &FileStat) -> io::Result<Option<Vec<Segment>>> {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let on_disk = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
    if on_disk.saturating_add(WORTH_IT) > size {
        return Ok(None);
    }
    let (mut segments, mut at) = (Vec::new(), 0);
    while let Some(start) = seek(file, at, Whence::SeekData)? {
        let end = seek(file, start, Whence::SeekHole)?.unwrap_or(stat.st_size).min(stat.st_size);
        let length = u64::try_from(end.saturating_sub(start)).unwrap_or_default();
        segments.push(Segment { offset: u64::try_from(start).unwrap_or_default(), length });
        at = end;
    }
    let stored: u64 = segments.iter().map(|segment| segment.length).sum();
    segments.push(Segment { offset: size, length: 0 });
    Ok((size.saturating_sub(stored) >= WORTH_IT).then_some(segments))
}

/// `None` where nothing of that kind follows.
fn seek(file: &File, from: i64, whence: Whence) -> io::Result<Option<i64>> {
    match lseek(file, from, whence) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The map as it stands in front of the data: numbers one a line, padded to whole blocks.
pub fn map(segments: &[Segment]) -> Vec<u8> {
    let mut text = format!("{}\n", segments.len());
    for segment in segments {
        text.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
    }
    let mut map = text.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}
