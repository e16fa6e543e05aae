//! `DELETE /images/{name}`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::{Name, blocking};
use crate::api::error::ApiError;
use crate::api::state::ApiState;

/// 204 once it is gone, with the layers that nothing else uses.
pub async fn remove(State(state): State<ApiState>, Name(name): Name) -> Result<StatusCode, ApiError> {
    let images = Arc::clone(&state.images);
    blocking(move || images.remove(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
