//! Diagnostics of a sandbox: text for people, in the protocol's envelope.

mod events;
mod inspect;
mod logs;
mod summary;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::query::Query;
use super::types::DiagnosticBody;
use crate::model::SandboxId;

pub use events::events;
pub use inspect::inspect;
pub use logs::logs;
pub use summary::summary;

const TEXT: &str = "text/plain; charset=utf-8";

/// Which of `own` and `all` was asked for; `None` when the client uses the old form, without a scope.
fn scope(query: &Query, kind: &str, own: &'static str) -> Result<Option<&'static str>, ApiError> {
    let Some(asked) = query.get("scope") else { return Ok(None) };
    let asked = asked.to_ascii_lowercase();
    let known = [own, "all"].into_iter().find(|scope| *scope == asked);
    known.map(Some).ok_or_else(|| {
        let asked: String = asked.chars().take(64).collect();
        ApiError::refused(
            "DIAGNOSTICS_SCOPE_UNSUPPORTED",
            format!("Unsupported {kind} diagnostics scope '{asked}'. Supported scopes: {own}, all."),
        )
    })
}

/// Text as it is, never to be taken for a page.
fn plain(content: String) -> Response {
    ([(header::CONTENT_TYPE, TEXT), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], content).into_response()
}

/// The form of before there were scopes.
fn deprecated(content: String) -> Response {
    ([("deprecation", "true")], plain(content)).into_response()
}

fn envelope(
    id: &SandboxId,
    kind: &'static str,
    scope: &'static str,
    content: String,
    truncated: bool,
) -> DiagnosticBody {
    let warnings = match (scope, kind) {
        ("all", "logs") => vec!["Only the container contributes to the all scope.".to_owned()],
        ("all", _) => vec!["Only the runtime contributes to the all scope.".to_owned()],
        _ => Vec::new(),
    };
    let content_length = content.len();
    DiagnosticBody {
        sandbox_id: id.to_string(),
        kind,
        scope,
        delivery: "inline",
        content_type: TEXT,
        content,
        content_length,
        truncated,
        warnings,
    }
}
