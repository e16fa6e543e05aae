//! `DELETE /code/contexts/{id}`.

use axum::extract::{Request, State};
use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::execd::Entered;
use crate::api::extract::path_param;
use crate::api::state::ApiState;

/// Ends a context with its process. A run that is going on ends with an error.
pub async fn remove(State(state): State<ApiState>, entered: Entered, request: Request) -> Result<StatusCode, ApiError> {
    let (mut parts, _) = request.into_parts();
    let id = path_param(&mut parts, &state, "context").await?;
    if entered.contexts().await?.delete(&id) { Ok(StatusCode::OK) } else { Err(super::unknown(&id)) }
}
