//! `PATCH /sandboxes/{id}/metadata`: a merge patch (RFC 7396) of the labels.

use axum::Json;
use axum::extract::State;

use super::spec::labels;
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::fields::Fields;
use crate::api::json::JsonBody;
use crate::api::types::SandboxBody;
use crate::sandbox::Sandboxes;

/// Sets the labels that have a text, removes those that are null, and leaves all others.
pub async fn patch_metadata(
    State(sandboxes): State<Sandboxes>,
    Id(id): Id,
    JsonBody(body): JsonBody,
) -> Result<Json<SandboxBody>, ApiError> {
    let patch = labels::read_patch(&Fields::body(&body)?)?;
    let patched = sandboxes.patch_metadata(&id, patch).await;
    let sandbox = patched.map_err(|denial| ApiError::denied(denial, "SANDBOX::INTERNAL_ERROR"))?;
    Ok(Json(SandboxBody::whole(sandbox)))
}
