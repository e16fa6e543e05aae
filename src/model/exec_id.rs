//! The id of a process that was started in a sandbox beside its entrypoint.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// 32 lower-case hexadecimal digits, as the exec API shows them.
///
/// Files of the host are named by it, so only the exact form parses.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExecId(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("parse the id of an execution: not 32 lower-case hexadecimal digits")]
pub struct InvalidExecId;

impl ExecId {
    /// A fresh random id.
    #[cfg(feature = "daemon")]
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The entrypoint, where something of it can be handed out as of an execution.
    #[must_use]
    pub fn entrypoint() -> Self {
        Self("0".repeat(32))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExecId {
    type Err = InvalidExecId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && digits { Ok(Self(text.to_owned())) } else { Err(InvalidExecId) }
    }
}

impl TryFrom<String> for ExecId {
    type Error = InvalidExecId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ExecId> for String {
    fn from(id: ExecId) -> Self {
        id.0
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_32_lower_case_digits_parse() {
        assert!("0b5e5d5e6f704a399d3e2f0f3c9f6f11".parse::<ExecId>().is_ok());
        for bad in ["", "0B5E5D5E6F704A399D3E2F0F3C9F6F11", "0b5e5d5e6f704a399d3e2f0f3c9f6f1/", "0b5e5d5e6f704a399d3e"]
        {
            assert_eq!(bad.parse::<ExecId>(), Err(InvalidExecId), "{bad:?}");
        }
    }
}
