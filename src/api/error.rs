//! Answers that are not a success: the only place where errors become HTTP.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::time;
use crate::image::{ImageError, RegistryFailure};
use crate::model::{PolicyTooLarge, Reason, with_causes};
use crate::sandbox::{Denial, HostError};

/// An answer `{"code","message"}`. The message says what is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Seconds after which it is worth to ask again (`Retry-After`).
    retry_after: Option<u32>,
}

/// The one shape that every client reads; both fields are always there, or generated clients break.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// 400: the request breaks a schema or a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SANDBOX::INVALID_PARAMETER", message)
    }

    /// 400 with a code of its own.
    pub fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 501: a part of the protocol that this version does not have.
    pub fn absent(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, code, message)
    }

    /// 404 of a sandbox. The text may be anything that fits into a path, so what is repeated of it is bounded.
    pub fn no_sandbox(id: &str) -> Self {
        let shown: String = id.chars().take(64).collect();
        Self::new(StatusCode::NOT_FOUND, "DOCKER::SANDBOX_NOT_FOUND", format!("Sandbox {shown} not found."))
    }

    /// 500: something failed that the caller cannot change.
    pub fn internal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "SANDBOX::UNAVAILABLE", message);
        Self { retry_after: Some(1), ..error }
    }

    /// What a sandbox's denial is in HTTP. `host_code` names the call whose step on the host failed.
    pub fn denied(denial: Denial, host_code: &'static str) -> Self {
        let conflict = |code, message: String| Self::new(StatusCode::CONFLICT, code, message);
        match denial {
            Denial::NotFound { id } => Self::no_sandbox(&id),
            Denial::NotRunning { phase } => {
                conflict("DOCKER::SANDBOX_NOT_RUNNING", format!("Sandbox is not in a running state; it is {phase}."))
            }
            Denial::NotPaused { phase } => {
                conflict("DOCKER::SANDBOX_NOT_PAUSED", format!("Sandbox is not in a paused state; it is {phase}."))
            }
            Denial::NotAlive { phase } => conflict(
                "DOCKER::SANDBOX_NOT_RUNNING",
                format!("Sandbox is not in a running state; it is {phase} and can only be read and deleted."),
            ),
            Denial::NoExpiry => conflict(
                "DOCKER::INVALID_EXPIRATION",
                "Sandbox has no expiration to renew: it lives until it is deleted.".to_owned(),
            ),
            Denial::ExpiryInPast => {
                Self::refused("DOCKER::INVALID_EXPIRATION", "New expiration time must be in the future.")
            }
            Denial::ExpiryNotLater { current } => Self::refused(
                "DOCKER::EXPIRATION_NOT_EXTENDED",
                format!("New expiration time must be after the current one, {}.", time::write(current)),
            ),
            Denial::NoNetwork => conflict(
                "SANDBOX::NO_NETWORK",
                "Sandbox has no network, so there is nothing that a policy could let it reach. Only a new sandbox can have one."
                    .to_owned(),
            ),
            Denial::HostNetwork => conflict(
                "SANDBOX::HOST_NETWORK",
                "Sandbox has the network of the host, which no policy narrows. Only a new sandbox, with extensions[\"bivouac.network\"] = \
                 \"bridge\", can have a policy."
                    .to_owned(),
            ),
            Denial::NetworkAway(why) => conflict(
                "SANDBOX::NO_NETWORK",
                format!(
                    "This server has no network ({why}), and the one that made the sandbox had: what it reaches stays as it is, and \
                     no name is resolved. Start the server with [network] mode = \"bridge\" and call again."
                ),
            ),
            Denial::PolicyTooLarge(problem) => too_large(problem),
            Denial::ImageNotFound { message, .. } => Self::refused("SANDBOX::IMAGE_NOT_FOUND", message),
            Denial::Host(error) => Self::host(error, host_code),
            Denial::NoRoom(problem) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "SANDBOX::INSUFFICIENT_STORAGE",
                format!("No sandbox was made: {problem}."),
            ),
            Denial::ShuttingDown => {
                Self::unavailable("The daemon is shutting down; sandboxes stay. Try again shortly.")
            }
            Denial::Busy { id } => Self::internal(
                "SANDBOX::INTERNAL_ERROR",
                format!("The call on sandbox {id} was interrupted; read its state and call again."),
            ),
            Denial::Store(problem) => Self::internal(
                "SANDBOX::INTERNAL_ERROR",
                format!("The record of the sandbox could not be written, and nothing was done: {problem}."),
            ),
        }
    }

    /// What a failure of the image store is in HTTP.
    pub fn image(error: ImageError) -> Self {
        Self::of_image(&error)
    }

    /// As [`image`](Self::image), for a failure that several hear of.
    pub fn of_image(error: &ImageError) -> Self {
        let (status, code) = match error {
            ImageError::NotFound { .. } => (StatusCode::NOT_FOUND, "IMAGE::NOT_FOUND"),
            ImageError::Ambiguous { .. } => (StatusCode::CONFLICT, "IMAGE::AMBIGUOUS_NAME"),
            ImageError::Damaged { .. } => (StatusCode::CONFLICT, "IMAGE::DAMAGED"),
            ImageError::InUse { .. } => (StatusCode::CONFLICT, "IMAGE::IN_USE"),
            ImageError::InvalidName { .. } => (StatusCode::BAD_REQUEST, "IMAGE::INVALID_NAME"),
            ImageError::Bad { .. } => (StatusCode::BAD_REQUEST, "IMAGE::INVALID"),
            ImageError::WrongPlatform { .. } => (StatusCode::BAD_REQUEST, "IMAGE::WRONG_PLATFORM"),
            ImageError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "IMAGE::TOO_LARGE"),
            ImageError::Registry { kind, .. } => match kind {
                RegistryFailure::NotFound => (StatusCode::NOT_FOUND, "IMAGE::NOT_FOUND"),
                RegistryFailure::Denied => (StatusCode::FORBIDDEN, "IMAGE::PULL_DENIED"),
                RegistryFailure::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "IMAGE::RATE_LIMITED"),
                RegistryFailure::Refused => (StatusCode::BAD_REQUEST, "IMAGE::REGISTRY_REFUSED"),
                RegistryFailure::Unreachable => (StatusCode::BAD_GATEWAY, "IMAGE::REGISTRY_FAILED"),
            },
            ImageError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "IMAGE::FAILED"),
        };
        Self::new(status, code, format!("Failed to {}.", with_causes(error)))
    }

    fn host(error: HostError, code: &'static str) -> Self {
        match error.reason {
            Reason::LimitNotEnforceable => Self::invalid(error.message),
            _ => Self::internal(code, error.message),
        }
    }

    /// What is wrong, for a refusal with another code.
    pub fn into_message(self) -> String {
        self.message
    }

    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

/// 413 of a policy.
pub fn too_large(problem: PolicyTooLarge) -> ApiError {
    let message = format!("{problem}. Put names of one domain under a wildcard, or addresses into a range.");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "SANDBOX::POLICY_TOO_LARGE", uppercased(&message))
}

fn uppercased(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // 502 and 504 are about somebody's program in a sandbox.
        let told = [StatusCode::NOT_IMPLEMENTED, StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT];
        if self.status.is_server_error() && !told.contains(&self.status) {
            tracing::error!(code = self.code, "failed to answer a request: {}", self.message);
        }
        let body = ErrorBody { code: self.code, message: &self.message };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
