//! `DELETE /sandboxes/{id}`.

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::sandbox::Sandboxes;

/// 204 once the end is recorded; the sandbox goes through Stopping to Terminated.
pub async fn delete(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<StatusCode, ApiError> {
    let done = sandboxes.delete(&id).await;
    done.map_err(|denial| ApiError::denied(denial, "DOCKER::SANDBOX_DELETE_FAILED"))?;
    Ok(StatusCode::NO_CONTENT)
}
