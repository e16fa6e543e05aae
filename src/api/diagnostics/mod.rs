//! Diagnostics of a sandbox: text for people, in the protocol's envelope.

mod events;
mod logs;

use super::error::ApiError;
use super::query::Query;
use super::types::DiagnosticBody;
use crate::model::SandboxId;

pub use events::events;
pub use logs::logs;

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

fn envelope(
    id: &SandboxId,
    kind: &'static str,
    scope: &'static str,
    content: String,
    truncated: bool,
) -> DiagnosticBody {
    let warnings = match (scope, kind) {
        ("all", "logs") => vec!["Only the container contributes to the all scope."],
        ("all", _) => vec!["Only the runtime contributes to the all scope."],
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
