//! What a sandbox may reach: the egress API, below its address for port 18080, and the same as a part of the lifecycle API.
//!
//! The egress API says in plain text what is wrong, as its specification has it; the lifecycle API in JSON, like everything of
//! its own.

mod control;
mod plain;
mod policy;
mod read;

use axum::Router;
use axum::routing::get;

use super::state::ApiState;

pub use control::{change, delete, get as get_policy, replace};
pub use read::policy as read_policy;

/// Everything below `/sandboxes/{id}/proxy/18080`.
pub fn router() -> Router<ApiState> {
    let policy = get(plain::get).post(plain::replace).put(plain::replace).patch(plain::change).delete(plain::delete);
    let vault = get(plain::vault).post(plain::vault).patch(plain::vault).delete(plain::vault);
    Router::new()
        .route("/healthz", get(plain::health))
        .route("/policy", policy)
        .route("/credential-vault", vault)
        .route("/credential-vault/{*path}", get(plain::vault))
}
