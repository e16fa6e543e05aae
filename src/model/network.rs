//! What a sandbox has of a network.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a network that sandboxes share: a label of a domain name, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it must be 1 to 63 of a-z, 0-9 and -, with no - at either end")]
pub struct InvalidNetworkName;

impl NetworkName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NetworkName {
    type Error = InvalidNetworkName;

    fn try_from(text: String) -> Result<Self, InvalidNetworkName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = (1..=63).contains(&text.len()) && text.bytes().all(plain);
        let is_bare = !text.starts_with('-') && !text.ends_with('-');
        if is_label && is_bare { Ok(Self(text)) } else { Err(InvalidNetworkName) }
    }
}

impl FromStr for NetworkName {
    type Err = InvalidNetworkName;

    fn from_str(text: &str) -> Result<Self, InvalidNetworkName> {
        text.to_owned().try_into()
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

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
    /// The network that it shares with all that ask for it by this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<NetworkName>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_network_is_a_label() {
        for good in ["a", "team-1", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<NetworkName>().as_ref().map(NetworkName::as_str), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "a/b", "a=b", "\u{e4}", &"x".repeat(64)] {
            assert_eq!(bad.parse::<NetworkName>(), Err(InvalidNetworkName), "{bad}");
        }
        assert!(serde_json::from_str::<NetworkTerms>(r#"{"name": "A"}"#).is_err());
    }
}
