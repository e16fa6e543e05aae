//! `GET /sandboxes/{id}/diagnostics/logs`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::{TEXT, envelope, scope};
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::query::Query;
use crate::api::sandboxes::unreadable;
use crate::api::state::ApiState;
use crate::model::SandboxId;

const LINES: u32 = 100;
const MOST_LINES: u32 = 10_000;

/// The last lines: as JSON with a scope, and as text in the deprecated form without one.
pub async fn logs(State(state): State<ApiState>, Id(id): Id, query: Query) -> Result<Response, ApiError> {
    let scope = scope(&query, "logs", "container")?;
    let lines = query.number("tail", 1..=MOST_LINES)?.filter(|_| scope.is_none()).unwrap_or(LINES);
    if state.sandboxes.get(&id).is_none() {
        return Err(ApiError::no_sandbox(id.as_str()));
    }
    let (content, truncated) = last_lines(&state, id.clone(), lines as usize).await?;
    if let Some(scope) = scope {
        return Ok(Json(envelope(&id, "logs", scope, content, truncated)).into_response());
    }
    let content = if content.is_empty() { "(no logs)".to_owned() } else { content };
    let headers = [(header::CONTENT_TYPE.as_str(), TEXT), ("deprecation", "true")];
    Ok((headers, content).into_response())
}

async fn last_lines(state: &ApiState, id: SandboxId, lines: usize) -> Result<(String, bool), ApiError> {
    let logs = state.logs.clone();
    let read = tokio::task::spawn_blocking(move || logs.last_lines(&id, lines)).await;
    let tail = read.unwrap_or_else(|lost| Err(std::io::Error::other(lost))).map_err(|error| unreadable(&error))?;
    let bytes: Vec<u8> = tail.frames.into_iter().flat_map(|frame| frame.payload).collect();
    Ok((String::from_utf8_lossy(&bytes).into_owned(), tail.truncated))
}
