//! The states of a sandbox and why it is in one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a sandbox, by the names of the OpenSandbox lifecycle API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Pending,
    Running,
    Pausing,
    Paused,
    Resuming,
    Stopping,
    Terminated,
    Failed,
}

impl Phase {
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Resuming,
        Self::Stopping,
        Self::Terminated,
        Self::Failed,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Pausing => "Pausing",
            Self::Paused => "Paused",
            Self::Resuming => "Resuming",
            Self::Stopping => "Stopping",
            Self::Terminated => "Terminated",
            Self::Failed => "Failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a process ended (`wait(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It called `exit` with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It ended while nobody could see how.
    Unknown,
}

impl Exit {
    /// The code a shell would show: the exit code, or 128 plus the signal; `None` when nobody knows.
    #[must_use]
    pub fn shell_code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Unknown => None,
        }
    }
}

/// Why a sandbox is in its state: a word for programs. The message beside it is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Accepted; its root and processes are being made.
    Provisioning,
    /// The entrypoint runs.
    Started,
    UserPause,
    UserResume,
    /// Its time of life was set anew; never the reason of a state, only of an event.
    UserRenew,
    UserDelete,
    TtlExpiry,
    /// The entrypoint ended by itself.
    EntrypointExited,
    EntrypointNotFound,
    /// The entrypoint is there but cannot be executed (permission, format, working directory, user).
    EntrypointNotExecutable,
    OomKilled,
    ImageNotFound,
    /// The image could not be fetched from its registry.
    ImagePullFailed,
    /// A limit was asked for that this host cannot enforce.
    LimitNotEnforceable,
    /// A step of making the sandbox failed.
    StartFailed,
    PauseFailed,
    ResumeFailed,
    /// PID 1 or its cgroup was lost from outside.
    Lost,
    /// The host was restarted while the sandbox lived.
    HostRebooted,
}

impl Reason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Started => "started",
            Self::UserPause => "user_pause",
            Self::UserResume => "user_resume",
            Self::UserRenew => "user_renew",
            Self::UserDelete => "user_delete",
            Self::TtlExpiry => "ttl_expiry",
            Self::EntrypointExited => "entrypoint_exited",
            Self::EntrypointNotFound => "entrypoint_not_found",
            Self::EntrypointNotExecutable => "entrypoint_not_executable",
            Self::OomKilled => "oom_killed",
            Self::ImageNotFound => "image_not_found",
            Self::ImagePullFailed => "image_pull_failed",
            Self::LimitNotEnforceable => "limit_not_enforceable",
            Self::StartFailed => "start_failed",
            Self::PauseFailed => "pause_failed",
            Self::ResumeFailed => "resume_failed",
            Self::Lost => "lost",
            Self::HostRebooted => "host_rebooted",
        }
    }
}

/// A sandbox's state with its cause. `since` is in nanoseconds of the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub phase: Phase,
    pub reason: Reason,
    pub message: String,
    pub since_unix_nanos: i64,
    /// How the entrypoint ended, once it has.
    pub exit: Option<Exit>,
}
