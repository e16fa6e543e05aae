//! `GET /images`.

use axum::Json;
use axum::extract::State;

use crate::api::state::ApiState;
use crate::api::types::{ImageDocument, ImageList};

pub async fn list(State(state): State<ApiState>) -> Json<ImageList> {
    Json(ImageList { items: state.images.list().iter().map(|image| ImageDocument::of(image, &state.images)).collect() })
}
