//! `DELETE /session/{id}`.

use axum::extract::{Request, State};
use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::extract::path_param;
use crate::api::state::ApiState;

pub async fn close(State(state): State<ApiState>, entered: Entered, request: Request) -> Result<StatusCode, ApiError> {
    let (mut parts, _) = request.into_parts();
    let id = path_param(&mut parts, &state, "session").await?;
    if entered.shelf().await?.close_session(&id) {
        Ok(StatusCode::OK)
    } else {
        Err(failure::not_found("CONTEXT_NOT_FOUND", "session", &id))
    }
}
