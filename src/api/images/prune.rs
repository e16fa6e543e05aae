//! `POST /images/prune`: removes images that nobody has used for a while.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{TimeDelta, Utc};
use serde::Serialize;

use super::blocking;
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::api::state::ApiState;

/// A day: an image that was used yesterday is mostly wanted again.
const UNUSED_FOR: u32 = 24 * 3600;

#[derive(Debug, Serialize)]
pub struct Pruned {
    /// Names of the images that are gone.
    removed: Vec<String>,
}

/// Images that are in use stay, whatever their age.
pub async fn prune(State(state): State<ApiState>, query: Query) -> Result<Json<Pruned>, ApiError> {
    let seconds = query.number("unusedForSeconds", 0..=u32::MAX)?.unwrap_or(UNUSED_FOR);
    let before = Utc::now() - TimeDelta::seconds(seconds.into());
    let images = Arc::clone(&state.images);
    let removed = blocking(move || Ok(images.prune_unused(before))).await?;
    Ok(Json(Pruned { removed: removed.into_iter().map(|image| image.name).collect() }))
}
