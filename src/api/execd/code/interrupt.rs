//! `DELETE /code?id=`.

use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::execd::{Entered, command, failure};
use crate::api::query::Query;
use crate::model::ExecId;

/// Interrupts the run of a context, as Ctrl-C does; the context stays with everything that it knows. Code that takes an
/// interrupt for nothing goes on: then only deleting the context helps. An id of a command means that command.
pub async fn interrupt(entered: Entered, query: Query) -> Result<StatusCode, ApiError> {
    let id = query.get("id").ok_or_else(|| failure::missing("id"))?;
    if id.parse::<ExecId>().is_ok() {
        return command::interrupt(entered, query).await;
    }
    let shown: String = id.chars().take(64).collect();
    let context = entered.contexts().await?.get(id);
    let context = context.ok_or_else(|| failure::internal(&format!("no such session: {shown}")))?;
    context.interrupt().map_err(super::refused)?;
    Ok(StatusCode::OK)
}
