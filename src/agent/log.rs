//! The entrypoint's output on disk: two segments that take turns, so that a flood fills neither the disk nor memory.
//!
//! A segment starts with a header of 24 bytes: the magic `BVKLOG1\n`, its number (from 1, up by one with each turn),
//! and how many bytes of output were dropped before it. Frames follow: the stream (1 stdout, 2 stderr), three zero
//! bytes, the payload's length (u32), the time (u64, nanoseconds of the Unix epoch), the payload; integers are
//! little-endian. When one segment is full the other is emptied and written next. The daemon is the reader.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use nix::sys::uio::pwritev;
use nix::unistd::ftruncate;

const MAGIC: &[u8; 8] = b"BVKLOG1\n";
const HEADER_BYTES: u64 = 24;
const FRAME_BYTES: u64 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout = 1,
    Stderr = 2,
}

#[derive(Debug)]
pub struct LogWriter {
    segments: [OwnedFd; 2],
    segment_bytes: u64,
    current: usize,
    number: u64,
    position: u64,
    /// Payload bytes in each segment, to know what emptying it drops.
    payload: [u64; 2],
    dropped: u64,
    /// Payload bytes that were written, whether they are there still or not.
    kept: u64,
}

impl LogWriter {
    /// Starts a log in two empty files.
    pub fn start(segments: [OwnedFd; 2], segment_bytes: u64) -> nix::Result<Self> {
        let mut log =
            Self { segments, segment_bytes, current: 0, number: 1, position: 0, payload: [0; 2], dropped: 0, kept: 0 };
        log.write_header()?;
        Ok(log)
    }

    /// Appends output. What cannot be written (the disk is full) is dropped and counted: the entrypoint never waits
    /// for its log.
    pub fn append(&mut self, stream: Stream, at_unix_nanos: i64, payload: &[u8]) {
        let size = FRAME_BYTES + payload.len() as u64;
        // The segment could not even be begun the last time; what it holds would have no meaning without its header.
        if self.position < HEADER_BYTES && self.write_header().is_err() {
            self.dropped += payload.len() as u64;
            return;
        }
        if self.position + size > self.segment_bytes && self.position > HEADER_BYTES && self.turn().is_err() {
            self.dropped += payload.len() as u64;
            return;
        }
        match self.write_frame(stream, at_unix_nanos, payload) {
            Ok(()) => self.kept += payload.len() as u64,
            Err(_) => self.dropped += payload.len() as u64,
        }
    }

    /// How many bytes of output were written.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// How many of these may be written that a reader has not seen, so that it finds them still, were it single bytes with a
    /// head for each.
    pub fn ahead(&self) -> u64 {
        const MOST: u64 = 256 << 10;
        (self.segment_bytes / (2 * FRAME_BYTES)).min(MOST)
    }

    fn turn(&mut self) -> nix::Result<()> {
        let next = 1 - self.current;
        ftruncate(&self.segments[next], 0)?;
        self.dropped += std::mem::take(&mut self.payload[next]);
        self.current = next;
        self.number += 1;
        self.write_header()
    }

    fn write_header(&mut self) -> nix::Result<()> {
        let mut header = Vec::with_capacity(24);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&self.number.to_le_bytes());
        header.extend_from_slice(&self.dropped.to_le_bytes());
        self.position = 0;
        self.write(&[&header])
    }

    fn write_frame(&mut self, stream: Stream, at_unix_nanos: i64, payload: &[u8]) -> nix::Result<()> {
        let length = u32::try_from(payload.len()).map_err(|_| nix::errno::Errno::EMSGSIZE)?;
        let mut head = [0; 16];
        head[0] = stream as u8;
        head[4..8].copy_from_slice(&length.to_le_bytes());
        head[8..16].copy_from_slice(&at_unix_nanos.to_le_bytes());
        self.write(&[&head, payload])?;
        self.payload[self.current] += u64::from(length);
        Ok(())
    }

    /// Writes all parts at the current position, or leaves the segment as it was.
    fn write(&mut self, parts: &[&[u8]]) -> nix::Result<()> {
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let segment = &self.segments[self.current];
        let at = i64::try_from(self.position).map_err(|_| nix::errno::Errno::EFBIG)?;
        let written = pwritev(segment, &slices, at)? as u64;
        if written < total {
            ftruncate(segment, at)?;
            return Err(nix::errno::Errno::ENOSPC);
        }
        self.position += total;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    fn read(dir: &std::path::Path, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        File::open(dir.join(name)).expect("the segment").read_to_end(&mut bytes).expect("its bytes");
        bytes
    }

    #[test]
    fn segments_take_turns_and_count_what_is_dropped() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |name: &str| OwnedFd::from(File::create(dir.path().join(name)).expect("a file"));
        let mut log = LogWriter::start([open("log.0"), open("log.1")], 24 + 2 * (16 + 10)).expect("a log");
        for byte in b'a'..=b'g' {
            log.append(Stream::Stdout, 7, &[byte; 10]);
        }
        let (first, second) = (read(dir.path(), "log.0"), read(dir.path(), "log.1"));
        // a, b | c, d | e, f | g: the fourth turn lies in log.1 and has dropped c and d as well as a and b.
        assert_eq!(first[8..24], [[3, 0, 0, 0, 0, 0, 0, 0], [20, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(second[8..24], [[4, 0, 0, 0, 0, 0, 0, 0], [40, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(&second[24..], [&[1, 0, 0, 0, 10, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], [b'g'; 10].as_slice()].concat());
    }

    #[test]
    fn a_segment_that_could_not_be_begun_is_begun_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |name: &str| OwnedFd::from(File::create(dir.path().join(name)).expect("a file"));
        let mut log = LogWriter::start([open("log.0"), open("log.1")], 24 + 16 + 10).expect("a log");
        // It can be emptied, but has no room for anything.
        let full =
            nix::sys::memfd::memfd_create(c"full", nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING).expect("a file");
        let seal = nix::fcntl::FcntlArg::F_ADD_SEALS(nix::fcntl::SealFlag::F_SEAL_GROW);
        nix::fcntl::fcntl(&full, seal).expect("sealed");
        let real = std::mem::replace(&mut log.segments[1], full);
        for byte in b'a'..=b'c' {
            log.append(Stream::Stdout, 7, &[byte; 10]);
        }
        log.segments[1] = real;
        log.append(Stream::Stdout, 7, &[b'd'; 10]);
        let second = read(dir.path(), "log.1");
        // Of b and c nothing was kept.
        assert_eq!(second[..8], *MAGIC);
        assert_eq!(second[8..24], [[2, 0, 0, 0, 0, 0, 0, 0], [20, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(second[40..], [b'd'; 10]);
    }
}
