//! Daemon and namespace maker.

use serde::{Deserialize, Serialize};

use super::StepFailure;

/// Make a user namespace that maps ids 0 to 65,535 to `base` and up, and a network namespace owned by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRequest {
    pub base: u32,
    /// The host id that owns the user namespace, and that no other namespace has as its owner.
    pub owner: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceReply {
    /// With two descriptors: the user namespace, the network namespace (loopback up).
    Made,
    Failed(StepFailure),
}
