//! Commands in sandboxes: what runs, what has run, and what it wrote.
//!
//! What is known of a command lives as long as its sandbox. PID 1 keeps it, with the ends of the pipes, so that a new
//! daemon goes on where the old one ended: output in the background was moved to its file by the kernel, and what had not
//! been read yet is in the pipe still.

mod background;
mod command;
mod foreground;
mod interactive;
mod label;
mod output_file;
pub(super) mod pipes;
mod session;
mod shelf;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::{ExecError, Inside};
use crate::model::SandboxId;

pub use command::Command;
pub use foreground::{Event, Outcome, Stream};
pub use interactive::{
    Attachment, Blueprint, Entrypoint, EntrypointSeat, Interactive, Mode, Occupied, Over, Piece,
    Running as RunningInteractive,
};
pub use label::{Kind, Label};
pub use output_file::OutputFile;
pub use session::{Session, SessionRun};
pub use shelf::{Request, Running, Shelf};

/// The commands of all sandboxes.
#[derive(Debug)]
pub struct Commands {
    /// Holds a directory for each sandbox, named by its id.
    dir: PathBuf,
    /// How much of a command's output is kept, in bytes.
    keep: u64,
    shelves: Mutex<HashMap<SandboxId, Arc<OnceCell<Arc<Shelf>>>>>,
}

impl Commands {
    #[must_use]
    pub fn new(dir: PathBuf, keep: u64) -> Self {
        Self { dir, keep, shelves: Mutex::default() }
    }

    /// The commands of a sandbox. For the first who asks, those of an earlier daemon are found again.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub async fn of(self: &Arc<Self>, inside: &Inside) -> Result<Arc<Shelf>, ExecError> {
        let (cell, first) = {
            let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
            let first = !shelves.contains_key(inside.id());
            (Arc::clone(shelves.entry(inside.id().clone()).or_default()), first)
        };
        if first {
            self.forget_after(inside.clone());
        }
        let find = || async {
            let dir = self.dir.join(inside.id().as_str());
            Shelf::find(inside.clone(), dir, self.keep).await.map(Arc::new)
        };
        cell.get_or_try_init(find).await.cloned()
    }

    fn forget_after(self: &Arc<Self>, inside: Inside) {
        let commands = Arc::downgrade(self);
        tokio::spawn(async move {
            inside.left().await;
            if let Some(commands) = commands.upgrade() {
                commands.shelves.lock().unwrap_or_else(PoisonError::into_inner).remove(inside.id());
            }
        });
    }
}
