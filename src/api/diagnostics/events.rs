//! `GET /sandboxes/{id}/diagnostics/events`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::{TEXT, envelope, scope};
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::query::Query;
use crate::api::time;
use crate::sandbox::{Sandbox, Sandboxes};

/// What is known of the sandbox's life: as JSON with a scope, and as text in the deprecated form without one.
pub async fn events(State(sandboxes): State<Sandboxes>, Id(id): Id, query: Query) -> Result<Response, ApiError> {
    let scope = scope(&query, "events", "runtime")?;
    query.number("limit", 1..=500)?;
    let sandbox = sandboxes.get(&id).ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    let content = written(&sandbox);
    Ok(match scope {
        Some(scope) => Json(envelope(&id, "events", scope, content, false)).into_response(),
        None => ([(header::CONTENT_TYPE.as_str(), TEXT), ("deprecation", "true")], content).into_response(),
    })
}

fn written(sandbox: &Sandbox) -> String {
    let status = &sandbox.status;
    let created = time::write(sandbox.created_at);
    let since = time::write_nanos(status.since_unix_nanos);
    let mut text = format!("Sandbox:    {}\nImage:      {}\n", sandbox.id, sandbox.spec.image);
    text += &format!("{created} created\n{since} {}: {}", status.phase, status.reason.as_str());
    if !status.message.is_empty() {
        text += &format!(": {}", status.message);
    }
    text.push('\n');
    if let Some(expires) = sandbox.expires_at {
        text += &format!("{} expires\n", time::write(expires));
    }
    text
}
