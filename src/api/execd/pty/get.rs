//! `GET /pty/{id}`.

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};

use super::named;
use crate::api::error::ApiError;
use crate::api::execd::Entered;
use crate::api::state::ApiState;

pub async fn get(State(state): State<ApiState>, entered: Entered, request: Request) -> Result<Json<Value>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let process = named(&mut parts, &state, &entered).await?;
    Ok(Json(json!({
        "session_id": process.id().as_str(),
        "running": process.runs(),
        "output_offset": process.tape().end(),
    })))
}
