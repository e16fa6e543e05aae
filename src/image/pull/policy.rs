//! When an image is fetched.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The words of Docker's `--pull`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// If it is not here.
    #[default]
    Missing,
    /// Every time; layers that are here are not fetched again.
    Always,
    /// It must be here.
    Never,
}

impl Policy {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl FromStr for Policy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "missing" => Ok(Self::Missing),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("it must be missing, always or never"),
        }
    }
}
