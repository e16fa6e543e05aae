//! `GET /sandboxes/{id}`.

use axum::Json;
use axum::extract::State;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::types::SandboxBody;
use crate::sandbox::Sandboxes;

/// The sandbox; one that was removed too, for as long as it is kept for reading.
pub async fn get(State(sandboxes): State<Sandboxes>, Id(id): Id) -> Result<Json<SandboxBody>, ApiError> {
    let sandbox = sandboxes.get(&id).ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    Ok(Json(SandboxBody::whole(sandbox)))
}
