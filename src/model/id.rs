//! The id of a sandbox.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A sandbox's id: a version 4 UUID in its hyphenated lower-case form, as the OpenSandbox API shows it.
///
/// Every resource of the host that belongs to a sandbox (directory, cgroup) is named by it, so only the exact
/// canonical form parses: nothing a client sends can become another path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parse the sandbox id: not a lower-case hyphenated UUID")]
pub struct InvalidSandboxId;

impl SandboxId {
    /// A fresh random id.
    #[cfg(feature = "daemon")]
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().hyphenated().to_string())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 characters, without the hyphen: the host name inside the sandbox.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.chars().filter(|c| *c != '-').take(12).collect()
    }
}

impl FromStr for SandboxId {
    type Err = InvalidSandboxId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let canonical = bytes.len() == 36
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            });
        if canonical { Ok(Self(text.to_owned())) } else { Err(InvalidSandboxId) }
    }
}

impl TryFrom<String> for SandboxId {
    type Error = InvalidSandboxId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_parses() {
        assert!("0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11".parse::<SandboxId>().is_ok());
        for bad in [
            "",
            "..",
            "0B5E5D5E-6F70-4A39-9D3E-2F0F3C9F6F11",
            "0b5e5d5e6f704a399d3e2f0f3c9f6f11",
            "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f1/",
            "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f1\u{e9}",
            " 0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11",
        ] {
            assert_eq!(bad.parse::<SandboxId>(), Err(InvalidSandboxId), "{bad:?}");
        }
    }
}
