//! Processes beside the entrypoint: what PID 1 is told to start, and what it says of them.

use serde::{Deserialize, Serialize};

use super::Process;
use crate::model::{ExecId, Exit};

/// The longest label that PID 1 keeps.
pub const LABEL_BYTES: usize = 2048;

/// What to start. The descriptors that come with [`Command::Exec`](super::Command::Exec) are, in this order: the plan
/// (memory file holding this as JSON), one for each of `targets`, and what PID 1 is to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// Kept by PID 1 for the next daemon, which has no record of executions of its own; at most [`LABEL_BYTES`].
    pub label: String,
    pub job: Job,
    /// The numbers that the descriptors get in the process. Standard streams that are not among them are `/dev/null`.
    pub targets: Vec<i32>,
    /// A terminal of this size as the standard streams. Its master comes back with [`Report::Started`](super::Report::Started).
    pub terminal: Option<WindowSize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    Program(Box<Program>),
    /// Serve [requests for files](super::FileRequest) on descriptor 3, with the user, the directory and the environment
    /// of this program.
    Files(Box<Program>),
}

/// A program with what only the inside of the sandbox can decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `cwd` may hold `~`, `$NAME` and `${NAME}`; it must exist.
    pub process: Process,
    /// Run in place of `process.argv` when that program is not there.
    pub otherwise: Option<Vec<String>>,
    /// A file of `NAME=value` lines that lies over `process.env`; nothing when it is not there.
    pub env_file: Option<String>,
    /// `NAME=value`, over both.
    pub overrides: Vec<String>,
}

impl From<Process> for Program {
    fn from(process: Process) -> Self {
        Self { process, otherwise: None, env_file: None, overrides: Vec::new() }
    }
}

/// Characters of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub columns: u16,
    pub rows: u16,
}

impl Default for WindowSize {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// An execution that PID 1 has not been told to forget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    pub id: ExecId,
    pub label: String,
    /// How it ended, and when, in nanoseconds of the Unix epoch.
    pub ended: Option<(Exit, i64)>,
}
