//! `GET /sandboxes/{id}/diagnostics/summary`: all of it on one page, for people.

use axum::extract::State;
use axum::response::Response;

use super::inspect::inspection;
use super::{events, logs, plain};
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::query::Query;
use crate::api::state::ApiState;

const LINES: u32 = 50;
const EVENTS: u32 = 20;

pub async fn summary(State(state): State<ApiState>, Id(id): Id, query: Query) -> Result<Response, ApiError> {
    let lines = query.number("tail", 1..=logs::MOST_LINES)?.unwrap_or(LINES);
    let most = query.number("event_limit", 1..=events::MOST_EVENTS)?.unwrap_or(EVENTS);
    let no_sandbox = || ApiError::no_sandbox(id.as_str());
    let inspection = inspection(&state.sandboxes, &id).await.ok_or_else(no_sandbox)?;
    let events = events::told(&state.sandboxes, &id, most).ok_or_else(no_sandbox)?.content;
    let log = logs::last_lines(&state, id.clone(), lines, None).await?;
    let dropped = log.warning().map(|warning| format!("({warning})\n")).unwrap_or_default();
    let text = log.text();
    Ok(plain(format!(
        "== Inspect ==\n{inspection}\n== Events ==\n{events}\n== Logs (last {lines} lines) ==\n{dropped}{text}\n"
    )))
}
