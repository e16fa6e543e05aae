//! Routes about the daemon itself.

mod event;
mod metrics;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::state::ApiState;

pub use event::client_event;
pub use metrics::metrics;

/// `GET /health`: whoever answers is healthy, since the daemon listens only once all its sandboxes are accounted for.
pub async fn health() -> Json<Value> {
    Json(json!({"status": "healthy"}))
}

/// `GET /version`, and what sandboxes have of a network.
pub async fn version(State(state): State<ApiState>) -> Json<Value> {
    let network = state.sandboxes.config().network.mode;
    Json(json!({"version": state.version, "network": network.as_str()}))
}

/// `GET /openapi.json`: the description of this API.
pub async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../openapi.json"))
}
