//! Routes of the protocol that this version does not have: each says so, with the code that clients know.

use axum::extract::State;

use super::error::ApiError;
use super::extract::Id;
use crate::sandbox::Sandboxes;

/// 404 when there is no such sandbox, as a client that connects to one expects.
pub async fn snapshot_of_sandbox(State(sandboxes): State<Sandboxes>, Id(id): Id) -> ApiError {
    match sandboxes.get(&id) {
        Some(_) => snapshots().await,
        None => ApiError::no_sandbox(id.as_str()),
    }
}

pub async fn snapshots() -> ApiError {
    ApiError::absent("SNAPSHOT::NOT_IMPLEMENTED", "Snapshots are not in this version; make images of what to keep.")
}

pub async fn pools() -> ApiError {
    ApiError::absent(
        "KUBERNETES::POOL_NOT_SUPPORTED",
        "Pools of sandboxes are not in this version; a sandbox is made in milliseconds without one.",
    )
}

pub async fn templates() -> ApiError {
    ApiError::absent("FSB::API_NOT_SUPPORTED", "Templates are not in this version; create sandboxes from images.")
}

pub fn not_in_this_version() -> ApiError {
    ApiError::absent(
        "SANDBOX::API_NOT_SUPPORTED",
        "This part of the API is not in this version. GET /openapi.json lists what is.",
    )
}
