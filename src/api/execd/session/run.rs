//! `POST /session/{id}/run`.

use axum::extract::{FromRequest, Request, State};
use axum::response::Response;

use crate::api::error::ApiError;
use crate::api::execd::command::timeout;
use crate::api::execd::{Entered, failure, sse};
use crate::api::extract::path_param;
use crate::api::fields::Fields;
use crate::api::json::JsonBody;
use crate::api::state::ApiState;
use crate::model::ExecId;
use crate::sandbox::commands::SessionRun;

/// Runs code in a session. The answer tells of it until its end.
pub async fn run(State(state): State<ApiState>, entered: Entered, request: Request) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let id = path_param(&mut parts, &state, "session").await?;
    let JsonBody(body) = JsonBody::from_request(Request::from_parts(parts, body), &state).await?;
    let fields = Fields::body(&body)?;
    let code = fields.required_text("command")?.to_owned();
    if code.contains('\0') {
        return Err(failure::invalid("The command has a NUL byte in it."));
    }
    let cwd = fields.text("cwd")?.filter(|cwd| !cwd.is_empty()).map(str::to_owned);
    let run = SessionRun { code, cwd, timeout: timeout(&fields)?, defaults: entered.program().await? };
    let shelf = entered.shelf().await?;
    let shown: String = id.chars().take(64).collect();
    let session = shelf.session(&id).ok_or_else(|| failure::internal(&format!("no such session: {shown}")))?;
    let started = shelf.run_in_session(&session, run).await.map(sse::stream);
    started.or_else(|error| sse::not_started(ExecId::random().as_str(), error)).map_err(failure::of)
}
