//! What a sandbox has of a network.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Loopback alone.
    None,
    /// An address of its own, and the public Internet.
    Bridge,
    /// The host's own network, with everything that the host reaches.
    Host,
}

/// What a daemon gives its sandboxes of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkOffer {
    /// What a sandbox has that does not ask.
    pub mode: NetworkMode,
    /// Why it is that, for people: what the operator decided, and what the host can do of it.
    pub why: String,
    /// Whether a sandbox that asks may have the host's own network.
    pub allows_host: bool,
}

impl Default for NetworkOffer {
    fn default() -> Self {
        Self {
            mode: NetworkMode::None,
            why: "network.mode of its configuration is \"none\"".to_owned(),
            allows_host: false,
        }
    }
}

impl NetworkOffer {
    /// Whether there is a network at all.
    #[must_use]
    pub fn has_bridge(&self) -> bool {
        self.mode == NetworkMode::Bridge
    }
}

/// What a sandbox asks for of its network beside the mode; what is not given is as the operator decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkTerms {
    /// Connections at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Bytes a second that it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
}

impl NetworkTerms {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Less than this, in bytes a second, does not carry a connection.
pub const LEAST_BANDWIDTH: u64 = 8 << 10;

/// The most that a sandbox may ask for; what is not given has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkBounds {
    pub connections: Option<u32>,
    pub bandwidth: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it must be none, bridge or host")]
pub struct UnknownNetworkMode;

impl NetworkMode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }
}

impl FromStr for NetworkMode {
    type Err = UnknownNetworkMode;

    fn from_str(text: &str) -> Result<Self, UnknownNetworkMode> {
        let known = [Self::None, Self::Bridge, Self::Host].into_iter().find(|mode| mode.as_str() == text);
        known.ok_or(UnknownNetworkMode)
    }
}
