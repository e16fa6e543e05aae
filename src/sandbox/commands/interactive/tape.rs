//! What a process has written, on disk: both of its streams in one, in the order in which they came.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::sandbox::commands::{OutputFile, Stream};

/// Bytes of a mark: the offset from which on a stream writes, shifted by one, and which stream it is in the lowest bit.
const MARK: u64 = 8;

/// The last bytes of a process's output, each at an offset that stays its own, with the stream that each belongs to. A
/// daemon that comes later goes on where this one ended.
#[derive(Debug)]
pub struct Tape {
    bytes: OutputFile,
    marks: OutputFile,
    /// Who has written last. Its lock makes one writer of several.
    last: Mutex<Option<Stream>>,
    end: watch::Sender<u64>,
}

/// Output of one stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset of the first byte.
    pub from: u64,
    pub stream: Stream,
    pub bytes: Vec<u8>,
}

impl Tape {
    /// Opens the two files, or makes them; at least `keep` bytes are kept.
    pub fn open(bytes: &Path, marks: &Path, keep: u64) -> io::Result<Self> {
        let bytes = OutputFile::open(bytes, keep)?;
        let end = watch::Sender::new(bytes.end());
        Ok(Self { bytes, marks: OutputFile::open(marks, keep)?, last: Mutex::default(), end })
    }

    #[must_use]
    pub fn end(&self) -> u64 {
        self.bytes.end()
    }

    /// Moves what is in the pipe to the end, within the kernel. `Ok(0)` is the end of the pipe.
    ///
    /// # Errors
    /// `WouldBlock` when the pipe is empty.
    pub fn take(&self, pipe: BorrowedFd<'_>, stream: Stream) -> io::Result<usize> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != Some(stream) {
            let mark = self.bytes.end() << 1 | u64::from(stream == Stream::Stderr);
            self.marks.append(&mark.to_be_bytes())?;
            *last = Some(stream);
        }
        let taken = self.bytes.take_from(pipe)?;
        self.end.send_replace(self.bytes.end());
        Ok(taken)
    }

    /// Waits until something is written beyond `offset`, and reads at most so much of it; from the oldest byte that is
    /// kept, if that comes later.
    pub async fn next(self: &Arc<Self>, offset: u64, most: usize) -> io::Result<Piece> {
        // The sender is our own, so it is there.
        drop(self.end.subscribe().wait_for(|end| *end > offset).await);
        let tape = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || tape.read(offset, most)).await;
        read.unwrap_or_else(|lost| Err(io::Error::other(lost)))
    }

    fn read(&self, offset: u64, most: usize) -> io::Result<Piece> {
        loop {
            let from = offset.max(self.bytes.start());
            let (stream, until) = self.stream_at(from)?;
            let length = usize::try_from(until.saturating_sub(from)).unwrap_or(usize::MAX).min(most);
            let (_, bytes) = self.bytes.read(from, length)?;
            // Otherwise it was given back to the file system meanwhile.
            if self.bytes.start() <= from {
                return Ok(Piece { from, stream, bytes });
            }
        }
    }

    /// Whose byte that is, and where the next of the other begins at the earliest.
    fn stream_at(&self, offset: u64) -> io::Result<(Stream, u64)> {
        let (mut low, mut high) = (self.marks.start() / MARK, self.marks.end() / MARK);
        let (mut stream, mut until) = (Stream::Stdout, u64::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            let mark = self.mark(middle)?;
            if mark >> 1 <= offset {
                stream = if mark & 1 == 1 { Stream::Stderr } else { Stream::Stdout };
                low = middle + 1;
            } else {
                until = mark >> 1;
                high = middle;
            }
        }
        Ok((stream, until))
    }

    /// One that is not kept any more reads as the beginning.
    fn mark(&self, number: u64) -> io::Result<u64> {
        let (_, bytes) = self.marks.read(number * MARK, 8)?;
        Ok(bytes.try_into().map_or(0, u64::from_be_bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn open(dir: &Path) -> Arc<Tape> {
        Arc::new(Tape::open(&dir.join("out"), &dir.join("marks"), 4096).expect("a tape"))
    }

    fn write(tape: &Tape, stream: Stream, bytes: &[u8]) {
        let (ours, theirs) = nix::unistd::pipe().expect("a pipe");
        nix::unistd::write(&theirs, bytes).expect("written");
        assert_eq!(tape.take(ours.as_fd(), stream).expect("taken"), bytes.len());
    }

    #[tokio::test]
    async fn streams_are_told_apart_at_every_offset_also_by_a_later_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let tape = open(dir.path());
        let parts =
            [(Stream::Stderr, "ab"), (Stream::Stdout, "c"), (Stream::Stdout, "d"), (Stream::Stderr, "\0\u{e9}")];
        for (stream, text) in parts {
            write(&tape, stream, text.as_bytes());
        }
        let piece = |from, stream, bytes: &[u8]| Piece { from, stream, bytes: bytes.to_vec() };
        for tape in [tape, open(dir.path())] {
            assert_eq!(tape.next(0, 99).await.expect("read"), piece(0, Stream::Stderr, b"ab"));
            assert_eq!(tape.next(1, 99).await.expect("read"), piece(1, Stream::Stderr, b"b"));
            assert_eq!(tape.next(2, 99).await.expect("read"), piece(2, Stream::Stdout, b"cd"));
            assert_eq!(tape.next(3, 99).await.expect("read"), piece(3, Stream::Stdout, b"d"));
            assert_eq!(tape.next(4, 2).await.expect("read"), piece(4, Stream::Stderr, b"\0\xc3"));
            assert_eq!(tape.end(), 7);
        }
    }

    #[tokio::test]
    async fn who_falls_behind_is_told_where_it_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let tape = open(dir.path());
        for _ in 0..64 {
            write(&tape, Stream::Stdout, &[b'x'; 60_000]);
        }
        let piece = tape.next(5, 10).await.expect("read");
        assert!(piece.from > 2 << 20 && piece.bytes == b"xxxxxxxxxx", "{piece:?}");
    }
}
