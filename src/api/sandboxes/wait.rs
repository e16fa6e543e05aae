//! `GET /sandboxes/{id}/wait`, a route of our own: answers when the sandbox has ended.

use std::time::Duration;

use axum::Json;
use axum::extract::State;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::query::Query;
use crate::api::types::SandboxBody;
use crate::sandbox::Sandboxes;

const MOST_SECONDS: u32 = 24 * 3600;

/// The sandbox once it is Terminated or Failed; as it is then, when `timeout` seconds are over before that.
pub async fn wait(State(sandboxes): State<Sandboxes>, Id(id): Id, query: Query) -> Result<Json<SandboxBody>, ApiError> {
    let seconds = query.number("timeout", 0..=MOST_SECONDS)?;
    let ended = sandboxes.wait(&id);
    let sandbox = match seconds {
        None => ended.await,
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(u64::from(seconds)), ended).await {
            Ok(ended) => ended,
            Err(_over) => sandboxes.get(&id),
        },
    };
    let sandbox = sandbox.ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    Ok(Json(SandboxBody::whole(sandbox)))
}
