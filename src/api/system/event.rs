//! `POST /v1/metrics/events`: what an SDK tells about itself after a create. Checked, and of no further use here.

use axum::http::StatusCode;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::json::JsonBody;

pub async fn client_event(JsonBody(body): JsonBody) -> Result<StatusCode, ApiError> {
    let body = Fields::body(&body)?;
    if body.required_text("eventType")? != "sandbox.create" {
        return Err(ApiError::invalid("eventType must be 'sandbox.create'."));
    }
    body.text("sandboxId")?;
    body.text("image")?;
    if !body.get("createDurationMs").and_then(Value::as_f64).is_some_and(|time| time >= 0.0) {
        return Err(ApiError::invalid("createDurationMs is required: a number of milliseconds, 0 or more."));
    }
    if !body.has("success") {
        return Err(body.missing("success"));
    }
    body.boolean("success")?;
    Ok(StatusCode::NO_CONTENT)
}
