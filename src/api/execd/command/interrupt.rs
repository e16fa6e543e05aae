//! `DELETE /command?id=`.

use std::time::Duration;

use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::query::Query;
use crate::model::ExecId;

/// How long a command may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// Ends a command: SIGTERM to its process group, and SIGKILL when that is not enough.
pub async fn interrupt(entered: Entered, query: Query) -> Result<StatusCode, ApiError> {
    let id = query.get("id").ok_or_else(|| failure::missing("id"))?;
    let command = match id.parse::<ExecId>() {
        Ok(id) => entered.shelf().await?.command(&id),
        Err(_) => None,
    };
    let shown: String = id.chars().take(64).collect();
    let command = command.ok_or_else(|| failure::internal(&format!("no such session: {shown}")))?;
    if command.end().is_some() {
        return Err(failure::internal(&format!("command {shown} is not running")));
    }
    command.execution().signal(libc::SIGTERM).map_err(failure::of)?;
    tokio::spawn(async move {
        if tokio::time::timeout(GRACE, command.execution().ended()).await.is_err() {
            drop(command.execution().signal(libc::SIGKILL));
        }
    });
    Ok(StatusCode::OK)
}
