//! Why the daemon could not start, and the exit code that says so.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::config::InvalidConfig;
use super::listen::ListenError;
use crate::model::{SandboxId, with_causes};

/// Each text completes "failed to ...".
#[derive(Debug, Error)]
pub enum StartFailure {
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    #[error("take {dir}: another daemon holds it ({holder})", dir = dir.display())]
    Taken { dir: PathBuf, holder: String },
    #[error("{action} {path}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("prepare the process: {what}")]
    Process { what: &'static str, source: io::Error },
    #[error("{what}")]
    Part { what: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("make this host run sandboxes (`bivouac doctor` explains)")]
    Unfit { source: Box<dyn Error + Send + Sync> },
    #[error(
        "open its doors beside sandbox {id} (and {others} more), which have the host's network: {why}; or start it so, and delete \
         them first"
    )]
    OnHost { id: SandboxId, others: usize, why: &'static str },
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl StartFailure {
    /// The exit code, where it can be one of `sysexits.h`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::OnHost { .. } => 2,
            Self::Unfit { .. } => 69,
            Self::Taken { .. } => 75,
            Self::File { .. } | Self::Process { .. } | Self::Part { .. } | Self::Listen(_) => 1,
        }
    }

    /// The failure with every cause, for people.
    #[must_use]
    pub fn story(&self) -> String {
        format!("bivouac: failed to {}", with_causes(self))
    }
}
