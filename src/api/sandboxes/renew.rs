//! `POST /sandboxes/{id}/renew-expiration`.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::fields::{Fields, shown};
use crate::api::json::JsonBody;
use crate::api::time;
use crate::api::types::RenewedBody;
use crate::sandbox::Sandboxes;

/// Sets when the sandbox's time is up.
pub async fn renew(
    State(sandboxes): State<Sandboxes>,
    Id(id): Id,
    JsonBody(body): JsonBody,
) -> Result<Json<RenewedBody>, ApiError> {
    let renewed = sandboxes.renew(&id, read(&body)?).await;
    let expires_at = renewed.map_err(|denial| ApiError::denied(denial, "SANDBOX::INTERNAL_ERROR"))?;
    Ok(Json(RenewedBody { expires_at: time::write(expires_at) }))
}

fn read(body: &Value) -> Result<DateTime<Utc>, ApiError> {
    let text = Fields::body(body)?.required_text("expiresAt")?;
    let time = time::read(text).ok_or_else(|| {
        ApiError::invalid(format!(
            "expiresAt must be a time by RFC 3339, such as 2026-01-02T03:04:05Z, not {}.",
            shown(text)
        ))
    })?;
    if time.timestamp() > time::LATEST_EXPIRY_SECONDS {
        return Err(ApiError::invalid("expiresAt is later than this server can count (2262)."));
    }
    Ok(time)
}
