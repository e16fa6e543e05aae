//! What the client reads of the API's answers. Fields that it does not use are passed over.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    pub id: String,
    #[serde(default)]
    pub image: Option<ImageRef>,
    pub status: Status,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub extensions: BTreeMap<String, String>,
    #[serde(default)]
    pub entrypoint: Vec<String>,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ImageRef {
    pub uri: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub state: String,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub last_transition_at: Option<DateTime<Utc>>,
    /// As a shell shows it: 128 and the signal for a signal.
    #[serde(default)]
    pub exit_code: Option<i32>,
}

impl Status {
    /// Whether the sandbox has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "Terminated" | "Failed")
    }
}

impl Sandbox {
    /// Its `name` metadata.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.metadata.get("name").map(String::as_str)
    }

    /// The first 12 digits of the id, which is also its host name inside.
    #[must_use]
    pub fn short_id(&self) -> String {
        self.id.chars().filter(|c| *c != '-').take(12).collect()
    }
}

#[derive(Debug, Deserialize)]
pub struct Page {
    pub items: Vec<serde_json::Value>,
    pub pagination: Pagination,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    pub has_next_page: bool,
}
