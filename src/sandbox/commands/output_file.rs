//! Output that is kept on disk: every byte has a place that stays its own, and only the last of them are kept.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, SpliceFFlags, fallocate, splice};

/// Freed in steps: a call for each byte would cost more than the space.
const STEP: u64 = 1 << 20;
const CHUNK: usize = 64 << 10;

/// A file whose beginning is given back to the file system as it grows (`FALLOC_FL_PUNCH_HOLE`), so that offsets into it
/// stay right and the disk is not filled.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    /// How many of the last bytes are kept; up to a [`STEP`] more stay for a while.
    keep: u64,
    start: AtomicU64,
    end: AtomicU64,
}

impl OutputFile {
    /// Opens the file, or makes it.
    pub fn open(path: &Path, keep: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let end = file.metadata()?.len();
        let start = if end > keep + STEP { end - keep } else { 0 };
        Ok(Self { file, keep, start: AtomicU64::new(start), end: AtomicU64::new(end) })
    }

    /// The number of bytes that were ever written.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The offset of the oldest byte that is kept.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// Moves what is in the pipe to the end of the file, within the kernel, so that no byte is lost between the two. One
    /// writer at a time; blocks on the disk only. `Ok(0)` is the end of the pipe.
    ///
    /// # Errors
    /// `WouldBlock` when the pipe is empty.
    pub fn take_from(&self, pipe: BorrowedFd<'_>) -> io::Result<usize> {
        let mut at = i64::try_from(self.end()).map_err(io::Error::other)?;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let moved = splice(pipe, None, &self.file, Some(&mut at), CHUNK, flags)?;
        self.grown(moved as u64);
        Ok(moved)
    }

    /// Writes at the end. One writer at a time.
    pub fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end())?;
        self.grown(bytes.len() as u64);
        Ok(())
    }

    fn grown(&self, by: u64) {
        let end = self.end.fetch_add(by, Ordering::AcqRel) + by;
        let start = self.start.load(Ordering::Acquire);
        if end - start > self.keep + STEP {
            let new_start = end - self.keep;
            self.start.store(new_start, Ordering::Release);
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let length = i64::try_from(new_start).unwrap_or(i64::MAX);
            if let Err(error) = fallocate(&self.file, flags, 0, length)
                && error != Errno::EINTR
            {
                tracing::warn!(%error, "old output could not be given back to the file system");
            }
        }
    }

    /// Up to `most` bytes from `offset`, or from the oldest byte that is kept, with the offset of the first.
    pub fn read(&self, offset: u64, most: usize) -> io::Result<(u64, Vec<u8>)> {
        let from = offset.max(self.start.load(Ordering::Acquire));
        let length = usize::try_from(self.end().saturating_sub(from)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok((from, bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn offsets_stay_and_the_disk_is_given_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out");
        let output = OutputFile::open(&path, 4096).expect("a file");
        let block = vec![b'x'; 64 << 10];
        for _ in 0..64 {
            output.append(&block).expect("written");
        }
        output.append(b"the end").expect("written");
        assert_eq!(output.end(), (4 << 20) + 7);
        let (from, bytes) = output.read(0, usize::MAX).expect("read");
        assert!(from > (2 << 20) && bytes.ends_with(b"xthe end"), "{from}");
        assert_eq!(output.read(output.end() - 3, 99).expect("read"), ((4 << 20) + 4, b"end".to_vec()));
        assert_eq!(output.read(1 << 40, 9).expect("nothing").1, b"");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&path.metadata().expect("metadata"));
        assert!(blocks * 512 < 3 << 20, "{blocks}");
        assert_eq!(OutputFile::open(&path, 4096).expect("again").end(), output.end());
    }

    #[test]
    fn a_pipe_is_moved_until_it_is_empty_or_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let output = OutputFile::open(&dir.path().join("out"), 4096).expect("a file");
        let (ours, theirs) = nix::unistd::pipe().expect("a pipe");
        nix::unistd::write(&theirs, b"abc").expect("written");
        assert_eq!(output.take_from(ours.as_fd()).expect("moved"), 3);
        assert_eq!(output.take_from(ours.as_fd()).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        drop(theirs);
        assert_eq!(output.take_from(ours.as_fd()).expect("the end"), 0);
        assert_eq!(output.read(0, 9).expect("read").1, b"abc");
    }
}
