//! `GET /sandboxes/{id}/diagnostics/logs`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::{deprecated, envelope, scope};
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::query::Query;
use crate::api::sandboxes::{since, unreadable};
use crate::api::state::ApiState;
use crate::model::SandboxId;
use crate::sandbox::logs::Tail;

const LINES: u32 = 100;
pub const MOST_LINES: u32 = 10_000;

/// The last lines: as JSON with a scope, and as text in the deprecated form without one. A `container` is accepted there and
/// tells nothing: there is one.
pub async fn logs(State(state): State<ApiState>, Id(id): Id, query: Query) -> Result<Response, ApiError> {
    let scope = scope(&query, "logs", "container")?;
    let lines = query.number("tail", 1..=MOST_LINES)?.filter(|_| scope.is_none()).unwrap_or(LINES);
    let since = since(&query)?.filter(|_| scope.is_none());
    if state.sandboxes.get(&id).is_none() {
        return Err(ApiError::no_sandbox(id.as_str()));
    }
    let log = last_lines(&state, id.clone(), lines, since).await?;
    let Some(scope) = scope else { return Ok(deprecated(log.text())) };
    let mut body = envelope(&id, "logs", scope, log.content(), log.0.truncated);
    body.warnings.extend(log.warning());
    Ok(Json(body).into_response())
}

/// The end of a log.
pub struct Log(Tail);

impl Log {
    fn content(&self) -> String {
        let bytes: Vec<u8> = self.0.frames.iter().flat_map(|frame| &frame.payload).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// For people: an empty log says that it is.
    pub fn text(&self) -> String {
        if self.0.frames.is_empty() { "(no logs)".to_owned() } else { self.content() }
    }

    /// What is missing.
    pub fn warning(&self) -> Option<String> {
        let dropped = self.0.dropped;
        (dropped > 0).then(|| format!("{dropped} bytes of older output are not kept."))
    }
}

pub async fn last_lines(state: &ApiState, id: SandboxId, lines: u32, since: Option<u64>) -> Result<Log, ApiError> {
    let logs = state.logs.clone();
    let read = tokio::task::spawn_blocking(move || logs.last_lines(&id, lines as usize, since)).await;
    read.unwrap_or_else(|lost| Err(std::io::Error::other(lost))).map(Log).map_err(|error| unreadable(&error))
}
