//! Daemon and PID 1.

use serde::{Deserialize, Serialize};

use super::StepFailure;
use crate::model::Exit;

/// The largest message in either direction. PID 1 may be under an attacker's control, so the daemon reads no more.
pub const MAX_CONTROL_BYTES: usize = 16 * 1024;

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
}
