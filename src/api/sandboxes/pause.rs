//! `POST /sandboxes/{id}/pause`.

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::sandbox::Sandboxes;

/// 202 once the sandbox is Paused: its processes stand still and keep their memory.
pub async fn pause(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<StatusCode, ApiError> {
    let done = sandboxes.pause(&id).await;
    done.map_err(|denial| ApiError::denied(denial, "DOCKER::SANDBOX_PAUSE_FAILED"))?;
    Ok(StatusCode::ACCEPTED)
}
