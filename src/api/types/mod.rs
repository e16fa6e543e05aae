//! Answers as they are on the wire. A field without a value is left out: generated clients break on an explicit null.

mod image;
mod policy;
mod pull;
mod stats;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::time;
use crate::model::{Phase, Platform, Status};
use crate::sandbox::Sandbox;

pub use image::{ImageDocument, ImageList};
pub use policy::PolicyStatusBody;
pub use pull::PullLine;
pub use stats::{StatsBody, StatsList, percent, seconds};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxBody {
    pub id: String,
    /// Not in the answer to a create.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageBody>,
    /// Only when the client asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    pub status: StatusBody,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    /// Absent when the sandbox lives until it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    pub created_at: String,
}

#[derive(Debug, Serialize)]
pub struct ImageBody {
    pub uri: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody {
    pub state: &'static str,
    pub reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    pub last_transition_at: String,
    /// Ours: how the entrypoint ended, as a shell shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

#[derive(Debug, Serialize)]
pub struct EndpointBody {
    /// `host[:port]/path`, which ends in the port.
    pub endpoint: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub struct PageBody {
    pub items: Vec<SandboxBody>,
    pub pagination: PaginationBody,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaginationBody {
    pub page: u32,
    pub page_size: u32,
    pub total_items: usize,
    pub total_pages: usize,
    pub has_next_page: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewedBody {
    pub expires_at: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiagnosticBody {
    pub sandbox_id: String,
    pub kind: &'static str,
    pub scope: &'static str,
    pub delivery: &'static str,
    pub content_type: &'static str,
    pub content: String,
    pub content_length: usize,
    pub truncated: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl SandboxBody {
    /// The whole sandbox.
    pub fn whole(sandbox: Sandbox) -> Self {
        let image = Some(ImageBody { uri: sandbox.spec.image.clone() });
        Self { image, ..Self::created(sandbox) }
    }

    /// As the answer to a create shows it: without what it was made of.
    pub fn created(sandbox: Sandbox) -> Self {
        Self {
            id: sandbox.id.to_string(),
            image: None,
            platform: sandbox.spec.platform,
            status: StatusBody::from(sandbox.status),
            metadata: sandbox.spec.metadata,
            extensions: sandbox.spec.extensions,
            entrypoint: sandbox.spec.entrypoint,
            expires_at: sandbox.expires_at.map(time::write),
            created_at: time::write(sandbox.created_at),
        }
    }
}

impl From<Status> for StatusBody {
    fn from(status: Status) -> Self {
        Self {
            state: status.phase.as_str(),
            reason: status.reason.as_str(),
            message: status.message,
            last_transition_at: time::write_nanos(status.since_unix_nanos),
            exit_code: status.exit.and_then(crate::model::Exit::shell_code),
        }
    }
}

impl PaginationBody {
    pub fn new(page: u32, page_size: u32, total_items: usize) -> Self {
        let size = page_size as usize;
        let total_pages = total_items.div_ceil(size.max(1));
        Self { page, page_size, total_items, total_pages, has_next_page: (page as usize) < total_pages }
    }
}

/// The state of that name, in any case of its letters.
pub fn phase(text: &str) -> Option<Phase> {
    Phase::ALL.into_iter().find(|phase| phase.as_str().eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let page = |page, total| {
            let body = PaginationBody::new(page, 20, total);
            (body.total_pages, body.has_next_page)
        };
        assert_eq!(page(1, 0), (0, false));
        assert_eq!(page(1, 20), (1, false));
        assert_eq!(page(1, 21), (2, true));
        assert_eq!(page(2, 21), (2, false));
        assert_eq!(page(9, 21), (2, false));
    }

    #[test]
    fn states_by_name() {
        assert_eq!(phase("running"), Some(Phase::Running));
        assert_eq!(phase("PAUSED"), Some(Phase::Paused));
        assert_eq!(phase("Allocated"), None);
    }
}
