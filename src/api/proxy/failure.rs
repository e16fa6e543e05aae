//! What is said when a port does not answer.

use std::io;
use std::time::Duration;

use axum::http::StatusCode;

use crate::api::access::Target;
use crate::api::error::ApiError;
use crate::model::with_causes;
use crate::sandbox::{ConnectError, Inside};

pub const FAILED: &str = "SANDBOX::INTERNAL_ERROR";

/// 502: there is no connection; 409: there can be none.
pub fn not_connected(inside: &Inside, target: &Target<'_>, error: ConnectError) -> ApiError {
    let port = target.port;
    let message = match error {
        ConnectError::Gone => return gone(inside),
        ConnectError::OfHost => {
            let message = format!(
                "The sandbox has the network of the host, so port {port} is the host's, and no way of the sandbox leads there. Connect \
                 to the host itself."
            );
            return ApiError::new(StatusCode::CONFLICT, "SANDBOX::HOST_NETWORK", message);
        }
        ConnectError::Failed(error) if error.kind() == io::ErrorKind::ConnectionRefused => format!(
            "Nothing listens on port {port} of the sandbox, neither at 127.0.0.1 nor at ::1. Start the program there, or \
             wait until it listens."
        ),
        ConnectError::Failed(error) => format!("Port {port} of the sandbox cannot be reached: {error}."),
    };
    ApiError::new(StatusCode::BAD_GATEWAY, "BACKEND_CONNECTION_FAILED", message)
}

/// 502: there was a connection, and what came over it is no answer.
pub fn no_answer(target: &Target<'_>, error: &hyper::Error) -> ApiError {
    let (port, why) = (target.port, with_causes(error));
    let message = format!("What listens on port {port} of the sandbox did not answer in HTTP/1.1: {why}.");
    ApiError::new(StatusCode::BAD_GATEWAY, "BACKEND_RESPONSE_FAILED", message)
}

/// 502: it changed the protocol without having been asked to.
pub fn unasked_upgrade(target: &Target<'_>) -> ApiError {
    let message =
        format!("What listens on port {} of the sandbox changed the protocol, and nobody asked for that.", target.port);
    ApiError::new(StatusCode::BAD_GATEWAY, "BACKEND_RESPONSE_FAILED", message)
}

/// 504: nothing happened for so long.
pub fn too_slow(target: &Target<'_>, limit: Duration) -> ApiError {
    let (port, seconds) = (target.port, limit.as_secs_f64());
    let message = format!("What listens on port {port} of the sandbox did not answer within {seconds} seconds.");
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "BACKEND_TIMEOUT", message)
}

/// 404: it was removed, or has ended, meanwhile.
pub fn gone(inside: &Inside) -> ApiError {
    ApiError::no_sandbox(inside.id().as_str())
}
