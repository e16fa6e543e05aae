//! Daemon and PID 1.

use serde::{Deserialize, Serialize};

use super::{ExecState, StepFailure};
use crate::model::{ExecId, Exit};

/// The largest message in either direction. PID 1 may be under an attacker's control, so the daemon reads no more.
pub const MAX_CONTROL_BYTES: usize = 16 * 1024;

/// How long the entrypoint waits for a reader that is not heard of.
pub const READER_SECONDS: u16 = 30;

/// The daemon to PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Become a sandbox; the descriptors are those of [`START_FDS`](super::START_FDS). Answered by [`Report::Ready`] or
    /// [`Report::Failed`].
    Start,
    /// Say who you are: answered by [`Report::Hello`], and by [`Report::Exited`] as well once the entrypoint has ended.
    Hello,
    /// Send this signal to the entrypoint.
    Signal(i32),
    /// A reader who must not miss anything has seen the entrypoint's output up to this offset: what goes far beyond it is left
    /// with the entrypoint. This lapses after [`READER_SECONDS`], so that nothing waits for a daemon that is gone.
    Seen { offset: u64 },
    /// Start a process; the descriptors are those of [`ExecPlan`](super::ExecPlan). Answered by [`Report::Started`] or
    /// [`Report::NotStarted`], and by [`Report::Ended`] in the end.
    Exec { id: ExecId },
    /// Send a signal to an execution's process group; nothing when it has ended.
    SignalExec { id: ExecId, signal: i32 },
    /// Close what is kept for an execution.
    Release { id: ExecId },
    /// Close the last of the descriptors that were given to keep for it, as the end of its input.
    ReleaseLast { id: ExecId },
    /// Close them all, and, once it has ended, know nothing of it.
    Forget { id: ExecId },
    /// Hand out again what is kept for an execution: answered by [`Report::Kept`].
    HandOut { id: ExecId },
    /// Name the executions after this one, in order: answered by [`Report::Execs`].
    Execs { after: Option<ExecId> },
}

/// PID 1 to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The entrypoint was executed.
    Ready,
    /// A step before that failed; PID 1 has ended.
    Failed(StepFailure),
    /// The nonce of the launch plan, which nothing else in the sandbox ever sees.
    Hello { nonce: String },
    /// The entrypoint ended, everything else in the sandbox was killed, all output is in the log.
    Exited(Exit),
    /// The program was executed. With the master of its terminal, if it has one.
    Started { id: ExecId },
    /// It was not, and nothing is known of it any more.
    NotStarted { id: ExecId, failure: StepFailure },
    /// The process ended, at this time in nanoseconds of the Unix epoch. Others of its group may live.
    Ended { id: ExecId, exit: Exit, at_unix_nanos: i64 },
    /// With the descriptors that are kept, the master of the terminal last; none when the execution is not known.
    Kept { id: ExecId },
    /// As many as fit a message, in order; an empty page is the end.
    Execs(Vec<ExecState>),
}
