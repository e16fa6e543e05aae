//! `POST /session`.

use axum::Json;
use axum::body::Bytes;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::fields::Fields;
use crate::api::json;
use crate::sandbox::commands::{Event, SessionRun};

/// Makes a session. With `cwd` it begins in that directory, which is made when it is missing.
pub async fn open(entered: Entered, body: Bytes) -> Result<Json<Value>, ApiError> {
    let body = if body.is_empty() { json!({}) } else { json::parse(&body)? };
    let fields = Fields::body(&body)?;
    let cwd = fields.text("cwd")?.filter(|cwd| !cwd.is_empty());
    let shelf = entered.shelf().await?;
    let session = shelf.open_session().map_err(failure::of)?;
    if let Some(cwd) = cwd {
        let quoted = cwd.replace('\'', r"'\''");
        let code = format!("mkdir -p -- '{quoted}' && cd -- '{quoted}'");
        let run = SessionRun { code, cwd: None, timeout: None, defaults: entered.program().await? };
        let mut running = shelf.run_in_session(&session, run).await.map_err(failure::of)?;
        while let Some(Event::Output(..)) = running.events.recv().await {}
        if let Some(error) = running.command.error() {
            shelf.close_session(session.id());
            return Err(failure::invalid(format!("The directory {cwd:?} cannot be made or entered: {error}.")));
        }
    }
    Ok(Json(json!({ "session_id": session.id() })))
}
