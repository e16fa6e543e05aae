//! `POST /sandboxes/{id}/resume`.

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::sandbox::Sandboxes;

/// 202 once the sandbox is Running again.
pub async fn resume(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<StatusCode, ApiError> {
    let done = sandboxes.resume(&id).await;
    done.map_err(|denial| ApiError::denied(denial, "DOCKER::SANDBOX_RESUME_FAILED"))?;
    Ok(StatusCode::ACCEPTED)
}
