//! `DELETE /pty/{id}`.

use axum::extract::{Request, State};
use axum::http::StatusCode;

use super::id;
use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::state::ApiState;

/// Ends the process: SIGHUP, and SIGKILL when that is not enough.
pub async fn close(State(state): State<ApiState>, entered: Entered, request: Request) -> Result<StatusCode, ApiError> {
    let (mut parts, _) = request.into_parts();
    let id = id(&mut parts, &state).await?;
    if entered.shelf().await?.close_interactive(&id) {
        Ok(StatusCode::OK)
    } else {
        Err(failure::not_found("CONTEXT_NOT_FOUND", "session", id.as_str()))
    }
}
