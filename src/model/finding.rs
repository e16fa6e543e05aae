//! What was found when a host was looked at.

use serde::Serialize;

/// One feature of the kernel or host, and whether it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub feature: String,
    pub found: bool,
    /// How it was found, or what was seen instead.
    pub detail: String,
    /// What is done instead where it is missing.
    pub fallback: Option<String>,
    /// What a user loses where it is missing.
    pub lost: Option<String>,
    /// Without it no sandbox can run.
    pub required: bool,
}
