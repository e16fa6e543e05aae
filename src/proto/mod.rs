//! What the daemon, the launcher and PID 1 say to each other: plain data in JSON, one value a message.
//!
//! Floor 1. Four conversations over `SOCK_SEQPACKET` sockets, which keep message boundaries:
//!
//! - daemon and launcher ([`LauncherRequest`], [`LauncherReply`]), reached again over a path after a restart;
//! - daemon and namespace maker ([`NamespaceRequest`], [`NamespaceReply`]);
//! - daemon and PID 1 of a sandbox ([`Command`], [`Report`]), over a socket pair whose daemon end the launcher keeps
//!   a copy of. A [`Report`] comes from the attacker's side of the wall and is read with that in mind;
//! - daemon and file servants of a sandbox ([`FileRequest`], [`FileReply`]), which are on that side, too.

mod control;
mod exec;
mod files;
mod launch;
mod namespaces;
mod wire;

pub use control::{Command, MAX_CONTROL_BYTES, READER_SECONDS, Report};
pub use exec::{ExecPlan, ExecState, Job, LABEL_BYTES, Program, WindowSize};
pub use files::{
    FileEntry, FileFailure, FileFailureKind, FileKind, FileReply, FileRequest, FileTime, MAX_FILE_MESSAGE, PATH_BYTES,
    Permission,
};
pub use launch::{
    FailureKind, LAUNCH_FDS, LIST_PAGE, LauncherReply, LauncherRequest, MAX_LAUNCHER_BYTES, Process, ResourceLimit,
    START_FDS, SeedPlan, StartPlan, StepFailure,
};
pub use namespaces::{NamespaceReply, NamespaceRequest};
pub use wire::{Malformed, decode, encode};
