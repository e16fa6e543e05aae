//! `GET /code/contexts/{id}`.

use axum::Json;
use axum::extract::{Request, State};
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::execd::Entered;
use crate::api::extract::path_param;
use crate::api::state::ApiState;

pub async fn get(State(state): State<ApiState>, entered: Entered, request: Request) -> Result<Json<Value>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let id = path_param(&mut parts, &state, "context").await?;
    let context = entered.contexts().await?.get(&id).ok_or_else(|| super::unknown(&id))?;
    Ok(Json(super::body(&context)))
}
