//! `POST /command`.

use axum::response::Response;
use serde_json::json;

use super::request::{self, CommandRequest};
use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure, sse};
use crate::api::fields::Fields;
use crate::api::json::JsonBody;
use crate::model::ExecId;

/// Starts a command. The answer tells of it until its end; for one in the background only that it was started.
pub async fn run(entered: Entered, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let fields = Fields::body(&body)?;
    let CommandRequest { background, request } = request::parse(&fields, entered.program().await?)?;
    let shelf = entered.shelf().await?;
    let started = if background {
        shelf.run_in_background(request).await.map(|command| {
            let init = sse::event("init", json!({ "text": command.id().as_str() }));
            sse::whole(&[init, sse::complete(std::time::Duration::ZERO)])
        })
    } else {
        shelf.run(request).await.map(sse::stream)
    };
    started.or_else(|error| sse::not_started(ExecId::random().as_str(), error)).map_err(failure::of)
}
