//! `/files` and `/directories`: the files of a sandbox, as its own user or as the one that the path names.

mod change;
mod content;
mod disposition;
mod download;
mod info;
mod lines;
mod list;
mod make;
mod multipart;
mod permission;
mod range;
mod remove;
mod rename;
mod replace;
mod search;
mod stream;
mod upload;
mod visitor;
mod writer;

use axum::Router;
use axum::routing::{delete, get, post};

use super::failure;
use crate::api::state::ApiState;

use visitor::Visitor;

/// Served twice: for the sandbox's own user, and below `/v1/filesystem/{uid}/{gid}`.
pub fn router() -> Router<ApiState> {
    Router::new()
        .route("/files", delete(remove::files))
        .route("/files/info", get(info::info))
        .route("/files/permissions", post(change::permissions))
        .route("/files/mv", post(rename::rename))
        .route("/files/search", get(search::search))
        .route("/files/replace", post(replace::replace))
        .route("/files/upload", post(upload::upload))
        .route("/files/download", get(download::download))
        .route("/directories", post(make::make).delete(remove::directories))
        .route("/directories/list", get(list::list))
}
