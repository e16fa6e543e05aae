//! `/command`: programs in the sandbox.

mod interrupt;
mod logs;
mod request;
mod run;
mod status;

pub use interrupt::interrupt;
pub use logs::logs;
pub use request::{shell, surroundings, timeout, words};
pub use run::run;
pub use status::status;

use axum::http::request::Parts;

use super::failure;
use crate::api::error::ApiError;
use crate::api::extract::path_param;
use crate::api::state::ApiState;
use crate::model::ExecId;

/// The command that the path names; what is no id names none.
async fn named(parts: &mut Parts, state: &ApiState) -> Result<Result<ExecId, String>, ApiError> {
    let text = path_param(parts, state, "command").await?;
    Ok(text.parse().map_err(|_| text))
}

fn unknown(id: &str) -> ApiError {
    failure::not_found("INVALID_REQUEST_BODY", "command", id)
}
