//! A sandbox as it was at one moment: what everyone outside the driver sees.

use chrono::{DateTime, Utc};

use super::IdBase;
use crate::model::{History, SandboxId, SandboxSpec, Status};

/// A sandbox, in plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    pub id: SandboxId,
    pub spec: SandboxSpec,
    pub status: Status,
    pub created_at: DateTime<Utc>,
    /// Provisional while Pending: the time of life counts from the first moment of running.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What the driver publishes.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub sandbox: Sandbox,
    /// A delete was accepted or the time was up: calls are refused, and lists show it only when asked for its state.
    pub removed: bool,
    pub history: History,
    pub base: Option<IdBase>,
    pub proof: Option<String>,
}
