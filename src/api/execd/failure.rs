//! Refusals in the words of the exec API.

use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::sandbox::ExecError;

pub const FAILED: &str = "RUNTIME_ERROR";
const INVALID: &str = "INVALID_REQUEST_BODY";

/// Why something was not started.
pub fn of(error: ExecError) -> ApiError {
    match error {
        ExecError::WorkingDirectory(message) | ExecError::User(message) => invalid(format!("{message}.")),
        ExecError::NotFound(message) | ExecError::NotExecutable(message) | ExecError::Host(message) => {
            internal(&message)
        }
        ExecError::Gone => ApiError::new(StatusCode::NOT_FOUND, "DOCKER::SANDBOX_NOT_FOUND", "The sandbox has ended."),
    }
}

pub fn internal(message: &str) -> ApiError {
    ApiError::internal(FAILED, format!("{message}."))
}

/// 400: the body breaks a rule.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::refused(INVALID, message)
}

/// 400: a parameter of the query is missing.
pub fn missing(name: &str) -> ApiError {
    ApiError::refused("MISSING_QUERY", format!("The query has no {name}; add ?{name}=..."))
}

/// 404 of a thing inside the sandbox.
pub fn not_found(code: &'static str, what: &str, id: &str) -> ApiError {
    let shown: String = id.chars().take(64).collect();
    ApiError::new(StatusCode::NOT_FOUND, code, format!("{what} not found: {shown}"))
}
