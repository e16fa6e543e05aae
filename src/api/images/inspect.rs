//! `GET /images/{name}`.

use axum::Json;
use axum::extract::State;

use super::Name;
use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::api::types::ImageDocument;

pub async fn inspect(State(state): State<ApiState>, Name(name): Name) -> Result<Json<ImageDocument>, ApiError> {
    let image = state.images.look_up(&name).map_err(ApiError::image)?;
    Ok(Json(ImageDocument::of(&image, &state.images)))
}
