//! Daemon and launcher, and the plan that a sandbox's first process carries out.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Interaction, SandboxId};

/// The largest message between daemon and launcher; plans travel in a descriptor, so these are small.
pub const MAX_LAUNCHER_BYTES: usize = 64 * 1024;

/// The descriptors that come with [`LauncherRequest::Launch`], in this order; the `tasks` files of the version 1
/// hierarchies that the workload joins follow them.
///
/// `seed plan` (memory file holding a JSON [`SeedPlan`]), `user namespace`, `network namespace`, `cgroup of PID 1` and
/// `cgroup of the workload` (version 2 directories).
pub const LAUNCH_FDS: usize = 5;

/// The descriptors that come with [`Command::Start`](super::Command::Start), in this order: `start plan` (memory file
/// holding a JSON [`StartPlan`]), `root` (detached overlay mount), `log.0`, `log.1`.
pub const START_FDS: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LauncherRequest {
    /// Clone a sandbox's first process. Answered by [`LauncherReply::Holding`] as soon as it exists.
    Launch { id: SandboxId },
    /// Hand out again what was answered to the launch of this sandbox.
    Attach { id: SandboxId },
    /// Let go of this sandbox's descriptors; its processes are gone. Answered by [`LauncherReply::Unknown`].
    Forget { id: SandboxId },
    /// Name up to [`LIST_PAGE`] of the sandboxes that are held, in order, after this one.
    List { after: Option<SandboxId> },
}

/// Ids in one [`LauncherReply::Ids`]: a page stays below [`MAX_LAUNCHER_BYTES`].
pub const LIST_PAGE: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LauncherReply {
    /// With two descriptors: pidfd of PID 1, the daemon's end of its control socket. `pid` is the host's number.
    Holding {
        pid: i32,
    },
    /// The launcher holds nothing by that id.
    Unknown,
    Ids(Vec<SandboxId>),
    Failed(StepFailure),
}

/// What the first process of a sandbox is told before anybody has asked for the sandbox: everything that is the same for
/// all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedPlan {
    /// Proves to a later daemon that PID 1 is the one that was launched.
    pub nonce: String,
    pub hostname: String,
    /// First host id of the sandbox's range; files of ours inside the sandbox belong to it.
    pub id_base: u32,
    /// Host id of PID 1: outside every range, so that it is nobody's inside, and owner of the cgroups it clones into.
    pub supervisor_id: u32,
    /// Paths below `/proc` and `/sys` that are hidden, and that are made read-only. Missing ones are skipped.
    pub masked_paths: Vec<String>,
    pub read_only_paths: Vec<String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
    pub oom_score_adj: i32,
    /// Capabilities that the workload may ever have, by number (`capabilities(7)`).
    pub capabilities: Vec<u8>,
    pub limits: Vec<ResourceLimit>,
}

/// What it is told once somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartPlan {
    /// Size of one of the two log segments in bytes.
    pub log_segment_bytes: u64,
    pub process: Process,
    #[serde(default)]
    pub interaction: Interaction,
}

/// The process that a sandbox runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub argv: Vec<String>,
    /// `NAME=value`; `HOME` is added from the image's passwd file when it is missing.
    pub env: Vec<String>,
    /// As the image configuration writes it: `user[:group]`, by name or number; empty is root.
    pub user: String,
    pub cwd: String,
}

/// A limit of `setrlimit(2)`, by the number of its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// A step of the launch that failed: its name, and the call with its arguments and error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("launch step {step:?}: {error}")]
pub struct StepFailure {
    pub step: String,
    pub error: String,
    pub kind: FailureKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The program is not in the image.
    NotFound,
    /// It is there, but cannot be run as asked: permission, format.
    NotExecutable,
    /// The working directory is not there, or is none.
    WorkingDirectory,
    /// The user or group is not known in the image.
    User,
    /// Ours, or the host's.
    Internal,
}
