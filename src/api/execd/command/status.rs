//! `GET /command/status/{id}`.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;

use super::{named, unknown};
use crate::api::error::ApiError;
use crate::api::execd::Entered;
use crate::api::state::ApiState;
use crate::api::time;
use crate::model::Exit;
use crate::sandbox::commands::Command;

#[derive(Debug, Serialize)]
pub struct StatusBody {
    id: String,
    content: String,
    running: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
}

impl StatusBody {
    fn of(command: &Command) -> Self {
        let end = command.end();
        Self {
            id: command.id().to_string(),
            content: command.content().to_owned(),
            running: end.is_none(),
            exit_code: end.map(|end| if let Exit::Code(code) = end.exit { code } else { -1 }),
            error: command.error(),
            started_at: time::write_nanos(command.started_unix_nanos()),
            finished_at: end.map(|end| time::write_nanos(end.at_unix_nanos)),
        }
    }
}

pub async fn status(
    State(state): State<ApiState>,
    entered: Entered,
    request: Request,
) -> Result<Json<StatusBody>, ApiError> {
    let (mut parts, _) = request.into_parts();
    let id = named(&mut parts, &state).await?.map_err(|text| unknown(&text))?;
    let command = entered.shelf().await?.command(&id).ok_or_else(|| unknown(id.as_str()))?;
    Ok(Json(StatusBody::of(&command)))
}
