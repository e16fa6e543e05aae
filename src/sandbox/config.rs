//! What an operator may set about the life of sandboxes.

use std::time::Duration;

use crate::model::{Limits, NetworkBounds, NetworkMode, NetworkOffer};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleConfig {
    /// The shortest time to live that a client may ask for.
    pub min_timeout: Duration,
    /// The longest; `None` sets no bound. A renewal is not bound by it.
    pub max_timeout: Option<Duration>,
    /// The most that a sandbox may ask for, of each.
    pub max_limits: Limits,
    /// And of its network.
    pub network_bounds: NetworkBounds,
    /// How long a removed sandbox can still be read.
    pub terminated_retention: Duration,
    /// Whether a renewal may bring the end nearer.
    pub allow_shorter_expiration: bool,
    /// What sandboxes have of a network, as the host has found it.
    pub network: NetworkOffer,
}

impl LifecycleConfig {
    /// What a sandbox that asks for this has.
    #[must_use]
    pub fn network(&self, asked: Option<NetworkMode>) -> NetworkMode {
        asked.unwrap_or(self.network.mode)
    }
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self {
            min_timeout: Duration::from_secs(60),
            max_timeout: None,
            max_limits: Limits::default(),
            network_bounds: NetworkBounds::default(),
            terminated_retention: Duration::from_secs(60),
            allow_shorter_expiration: false,
            network: NetworkOffer::default(),
        }
    }
}
