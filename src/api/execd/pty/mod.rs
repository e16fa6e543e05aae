//! `/pty`: processes that a client takes part in over a WebSocket.

mod close;
mod converse;
mod frames;
mod get;
mod open;
mod speak;
mod typed;
mod websocket;

pub use close::close;
pub use converse::{Answers, FAREWELL, PING, REPLIES, TAKEN_OVER, WINDOW};
pub use frames::{error, tagged, text};
pub use get::get;
pub use open::open;
pub use speak::listen;
pub use websocket::{BUFFER, LARGEST_MESSAGE, websocket};

use std::sync::Arc;

use axum::http::request::Parts;

use super::{Entered, failure};
use crate::api::error::ApiError;
use crate::api::extract::path_param;
use crate::api::state::ApiState;
use crate::model::ExecId;
use crate::sandbox::commands::Interactive;

/// The id that the path names; what is no id names nothing.
async fn id(parts: &mut Parts, state: &ApiState) -> Result<ExecId, ApiError> {
    let text = path_param(parts, state, "pty").await?;
    text.parse().map_err(|_| failure::not_found("CONTEXT_NOT_FOUND", "session", &text))
}

async fn named(parts: &mut Parts, state: &ApiState, entered: &Entered) -> Result<Arc<Interactive>, ApiError> {
    let id = id(parts, state).await?;
    let process = entered.shelf().await?.interactive(&id);
    process.ok_or_else(|| failure::not_found("CONTEXT_NOT_FOUND", "session", id.as_str()))
}
