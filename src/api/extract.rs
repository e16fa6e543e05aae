//! Reads the parts of a request that every verb has.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::error::ApiError;
use super::query::Query;
use crate::model::SandboxId;

/// The sandbox that the path names. What is no id names nobody: 404.
#[derive(Debug)]
pub struct Id(pub SandboxId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = path_param(parts, state, "id").await?;
        text.parse().map(Self).map_err(|_| ApiError::no_sandbox(&text))
    }
}

/// The port that the path names.
#[derive(Debug, Clone, Copy)]
pub struct Port(pub u16);

impl<S: Send + Sync> FromRequestParts<S> for Port {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = path_param(parts, state, "port").await?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            _ if !number => Err(ApiError::invalid("port must be a whole number between 1 and 65535.")),
            Ok(port @ 1..) => Ok(Self(port)),
            _ => Err(ApiError::refused("DOCKER::INVALID_PORT", "Port must be between 1 and 65535.")),
        }
    }
}

/// The decoded parameter of the path.
pub async fn path_param<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, ApiError> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| ApiError::invalid("The path is not UTF-8 after decoding; percent-encode its UTF-8 bytes."))?;
    let value = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    value.ok_or_else(|| ApiError::internal("SANDBOX::INTERNAL_ERROR", "The route has no such parameter."))
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Query::of(&parts.uri)
    }
}
