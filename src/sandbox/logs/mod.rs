//! What a sandbox's program wrote: reads the two segments that PID 1 keeps on disk.
//!
//! PID 1 writes them and is on the attacker's side of the wall: a segment may hold anything, change under the reader, or
//! claim any length. The worst that it may do is to show its own user nonsense.

mod frame;
mod reader;
mod stream;
mod tail;
mod watcher;

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::model::SandboxId;

pub use frame::{Frame, Stream};
use reader::Reader;
pub use stream::{Batches, Options};
use watcher::Watcher;

/// The logs of all sandboxes, each in its directory below one directory.
#[derive(Debug)]
pub struct Logs {
    dir: PathBuf,
    /// One for all followers: the kernel gives a user only 128 of them. Made when the first needs it.
    watcher: OnceCell<Watcher>,
}

/// The end of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    pub frames: Vec<Frame>,
    /// Something was written before these frames.
    pub truncated: bool,
    /// Bytes that were written before what is on disk, and are no more.
    pub dropped: u64,
}

impl Logs {
    /// `dir` holds a directory for each sandbox, named by its id.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, watcher: OnceCell::new() }
    }

    /// The directory that holds one for each sandbox.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last lines of both streams, of those that were written since then. Blocking.
    ///
    /// # Errors
    /// When a segment is there and cannot be read.
    pub fn last_lines(&self, id: &SandboxId, lines: usize, since: Option<u64>) -> io::Result<Tail> {
        let mut reader = self.reader(id);
        let truncated = tail::seek(&mut reader, lines, since)?;
        let dropped = reader.dropped;
        let mut frames = Vec::new();
        loop {
            let batch = reader.read()?;
            if batch.is_empty() {
                return Ok(Tail { frames, truncated, dropped });
            }
            frames.extend(batch);
        }
    }

    fn reader(&self, id: &SandboxId) -> Reader {
        Reader::new(self.dir.join(id.as_str()))
    }
}

#[cfg(test)]
mod tests;
