//! Routes of the protocol that this version does not have: each says so, with the code that clients know.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;

use super::error::ApiError;
use super::extract::{Id, path_param};
use super::state::ApiState;
use crate::sandbox::Sandboxes;

/// Something of a sandbox: 404 when there is no such sandbox, as a client that connects to one expects.
pub async fn of_sandbox(State(sandboxes): State<Sandboxes>, Id(id): Id) -> ApiError {
    match sandboxes.get(&id) {
        Some(_) => not_in_this_version(),
        None => ApiError::no_sandbox(id.as_str()),
    }
}

/// A port of a sandbox.
pub async fn endpoint(State(sandboxes): State<Sandboxes>, Id(id): Id, port: Port) -> ApiError {
    if sandboxes.get(&id).is_none() {
        return ApiError::no_sandbox(id.as_str());
    }
    match port {
        Port::Valid => not_in_this_version(),
        Port::OutOfRange => ApiError::refused("DOCKER::INVALID_PORT", "Port must be between 1 and 65535."),
        Port::NotANumber => ApiError::invalid("port must be a whole number between 1 and 65535."),
    }
}

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

fn not_in_this_version() -> ApiError {
    ApiError::absent(
        "SANDBOX::API_NOT_SUPPORTED",
        "This part of the API is not in this version. GET /openapi.json lists what is.",
    )
}

/// The port in the path, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub enum Port {
    Valid,
    OutOfRange,
    NotANumber,
}

impl FromRequestParts<ApiState> for Port {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let text = path_param(parts, state, "port").await?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        Ok(match (number, text.parse::<u16>()) {
            (false, _) => Self::NotANumber,
            (true, Ok(1..)) => Self::Valid,
            (true, _) => Self::OutOfRange,
        })
    }
}
