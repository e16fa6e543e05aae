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
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it must be none or bridge")]
pub struct UnknownNetworkMode;

impl NetworkMode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bridge => "bridge",
        }
    }
}

impl FromStr for NetworkMode {
    type Err = UnknownNetworkMode;

    fn from_str(text: &str) -> Result<Self, UnknownNetworkMode> {
        let known = [Self::None, Self::Bridge].into_iter().find(|mode| mode.as_str() == text);
        known.ok_or(UnknownNetworkMode)
    }
}
