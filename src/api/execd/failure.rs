//! Refusals in the words of the exec API.

use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::model::Phase;
use crate::sandbox::files::{FileError, FileFailure, FileFailureKind, PATH_BYTES};
use crate::sandbox::{Denial, ExecError};

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

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Refused(FileFailure { kind, message }) => match kind {
                FileFailureKind::NotFound => {
                    ApiError::new(StatusCode::NOT_FOUND, "FILE_NOT_FOUND", format!("file not found. {message}."))
                }
                FileFailureKind::Directory | FileFailureKind::NotAFile => {
                    ApiError::refused("INVALID_FILE", format!("{message}."))
                }
                FileFailureKind::NotADirectory | FileFailureKind::Invalid => invalid(format!("{message}.")),
                FileFailureKind::Exists | FileFailureKind::Other => internal(&message),
            },
            FileError::NotStarted(error) => of(error),
            FileError::NotRunning(Phase::Stopping | Phase::Terminated | Phase::Failed) => of(ExecError::Gone),
            FileError::NotRunning(phase) => ApiError::denied(Denial::NotRunning { phase }, FAILED),
            FileError::Broken(problem) => internal(&problem),
        }
    }
}

/// A path that a request names, as far as it can be judged from here.
pub fn path(text: &str) -> Result<&str, ApiError> {
    if text.is_empty() || text.contains('\0') {
        return Err(invalid("A path is empty, or has a NUL byte in it."));
    }
    if text.len() >= PATH_BYTES {
        return Err(invalid(format!("A path is longer than {} bytes.", PATH_BYTES - 1)));
    }
    Ok(text)
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
