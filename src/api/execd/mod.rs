//! The exec API of a sandbox ("execd" in the specifications): commands, sessions, files, metrics.
//!
//! The daemon serves it for every sandbox itself, below the sandbox's address for port 44772, so that it is there in every
//! image and an idle sandbox pays nothing for it. One file a verb.

mod code;
mod command;
mod entered;
pub mod failure;
mod files;
mod metrics;
mod ping;
pub mod pty;
mod session;
mod sse;

use axum::Router;
use axum::routing::{delete, get, post};

use super::state::ApiState;

pub use entered::Entered;

/// Everything below `/sandboxes/{id}/proxy/44772`.
pub fn router() -> Router<ApiState> {
    Router::new()
        .merge(files::router())
        .nest("/v1/filesystem/{uid}/{gid}", files::router())
        .route("/ping", get(ping::ping))
        .route("/metrics", get(metrics::metrics))
        .route("/metrics/watch", get(metrics::watch))
        .route("/command", post(command::run).delete(command::interrupt))
        .route("/command/status/{command}", get(command::status))
        .route("/command/{command}/logs", get(command::logs))
        .route("/pty", post(pty::open))
        .route("/pty/{pty}", get(pty::get).delete(pty::close))
        .route("/pty/{pty}/ws", get(pty::websocket))
        .route("/code", post(code::run).delete(code::interrupt))
        .route("/code/context", post(code::create))
        .route("/code/contexts", get(code::list).delete(code::clear))
        .route("/code/contexts/{context}", get(code::get).delete(code::remove))
        .route("/session", post(session::open))
        .route("/session/{session}", delete(session::close))
        .route("/session/{session}/run", post(session::run))
}
