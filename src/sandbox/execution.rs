//! Processes in a sandbox beside its entrypoint.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;

use crate::model::{ExecId, Exit, OutOfMemory};

pub use crate::proto::{Job, LABEL_BYTES, Process, Program, WindowSize};

/// What to start.
#[derive(Debug)]
pub struct Order {
    pub id: ExecId,
    pub job: Job,
    /// Descriptors and the numbers (0 to 63) that they get in the process. Standard streams that are not among them are
    /// `/dev/null`.
    pub fds: Vec<(OwnedFd, RawFd)>,
    /// Descriptors that stay open inside until they are [released](Execution::release), and that a later daemon gets
    /// back: the ends of pipes that this daemon reads, for one.
    pub kept: Vec<OwnedFd>,
    /// A terminal of this size as the standard streams.
    pub terminal: Option<WindowSize>,
    /// What a later daemon should know of it; at most [`LABEL_BYTES`].
    pub label: String,
}

impl Order {
    #[must_use]
    pub fn new(job: Job) -> Self {
        let (fds, kept) = (Vec::new(), Vec::new());
        Self { id: ExecId::random(), job, fds, kept, terminal: None, label: String::new() }
    }
}

/// What was started: the program runs.
#[derive(Debug)]
pub struct Started {
    pub execution: Execution,
    /// The master of the terminal, not blocking.
    pub terminal: Option<OwnedFd>,
}

/// An execution that an earlier daemon started.
#[derive(Debug)]
pub struct FoundExecution {
    pub label: String,
    pub execution: Execution,
}

/// Why nothing was started, in words for the user; all but the last two are answers about what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExecError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NotExecutable(String),
    #[error("{0}")]
    WorkingDirectory(String),
    #[error("{0}")]
    User(String),
    #[error("{0}")]
    Host(String),
    #[error("the sandbox has ended")]
    Gone,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    pub at_unix_nanos: i64,
    /// What the kernel killed in the sandbox for want of memory while it ran; not told of one that exited with 0.
    pub oom: Option<OutOfMemory>,
}

impl Ended {
    #[must_use]
    pub fn new(exit: Exit, at_unix_nanos: i64) -> Self {
        Self { exit, at_unix_nanos, oom: None }
    }

    /// What went wrong, in words; `None` for an exit with 0.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let how = match self.exit {
            Exit::Code(0) => return None,
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(signal) => format!("killed by signal {signal}"),
            Exit::Unknown => "nobody knows how it ended".to_owned(),
        };
        Some(self.oom.map(|oom| format!("{how}; {oom}")).unwrap_or(how))
    }
}

/// A process that was started. A clone is another handle on the same.
#[derive(Clone)]
pub struct Execution {
    id: ExecId,
    ended: watch::Receiver<Option<Ended>>,
    reins: Arc<dyn Reins>,
}

/// What the host does to a process; the calls are those of [`Execution`].
#[async_trait]
pub trait Reins: Send + Sync {
    fn signal(&self, id: &ExecId, signal: i32) -> Result<(), ExecError>;
    fn release(&self, id: &ExecId);
    fn release_last(&self, id: &ExecId);
    fn forget(&self, id: &ExecId);
    async fn kept(&self, id: &ExecId) -> Result<Vec<OwnedFd>, ExecError>;
}

impl Execution {
    pub fn new(id: ExecId, ended: watch::Receiver<Option<Ended>>, reins: Arc<dyn Reins>) -> Self {
        Self { id, ended, reins }
    }

    #[must_use]
    pub fn id(&self) -> &ExecId {
        &self.id
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Resolves when the process has ended; with [`Exit::Unknown`] when the sandbox went first. Processes that it left
    /// behind may live on.
    pub async fn ended(&self) -> Ended {
        let ended = self.ended.clone().wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
        ended.unwrap_or_else(|| Ended::new(Exit::Unknown, crate::sys::unix_nanos()))
    }

    /// Sends a signal to its process group; nothing when it has ended.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub fn signal(&self, signal: i32) -> Result<(), ExecError> {
        self.reins.signal(&self.id, signal)
    }

    /// Lets go of what is kept for it.
    pub fn release(&self) {
        self.reins.release(&self.id);
    }

    /// Lets go of the last of [`Order::kept`].
    pub fn release_last(&self) {
        self.reins.release_last(&self.id);
    }

    /// Lets go of all of it, and a later daemon does not find it again, whether it runs or has ended.
    pub fn forget(&self) {
        self.reins.forget(&self.id);
    }

    /// What is kept for it: [`Order::kept`] in order, then the master of its terminal.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub async fn kept(&self) -> Result<Vec<OwnedFd>, ExecError> {
        self.reins.kept(&self.id).await
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("id", &self.id).field("end", &self.end()).finish_non_exhaustive()
    }
}
