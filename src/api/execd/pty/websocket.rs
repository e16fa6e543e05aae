//! `GET /pty/{id}/ws`.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::converse::{Wishes, converse};
use super::named;
use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::sandbox::WindowSize;
use crate::sandbox::commands::Mode;

/// The largest message of a client; what is typed or piped comes in smaller ones.
pub const LARGEST_MESSAGE: usize = 1 << 20;

/// Held by each connection, also while it rests.
pub const BUFFER: usize = 8 << 10;

/// 101, and what [`converse`] does.
pub async fn websocket(
    State(state): State<ApiState>,
    entered: Entered,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let process = named(&mut parts, &state, &entered).await?;
    let wishes = wishes(&query)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &state).await;
    let upgrade = upgrade.map_err(|problem| {
        failure::invalid(format!("This path speaks WebSocket (RFC 6455) only: {}.", problem.body_text()))
    })?;
    let attachment = process.attach(query.flag("takeover")?).map_err(|_| {
        ApiError::new(
            StatusCode::CONFLICT,
            "ALREADY_CONNECTED",
            "Another client is connected; ?takeover=1 sends it away.",
        )
    })?;
    let upgrade = upgrade.max_message_size(LARGEST_MESSAGE).max_frame_size(LARGEST_MESSAGE);
    let upgrade = upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    Ok(upgrade.on_upgrade(move |socket| converse(socket, attachment, wishes)))
}

fn wishes(query: &Query) -> Result<Wishes, ApiError> {
    let since = match query.get("since") {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|_| failure::invalid("since must be a whole number from 0 on."))?),
    };
    let size = WindowSize {
        columns: side(query, "cols")?.unwrap_or(WindowSize::default().columns),
        rows: side(query, "rows")?.unwrap_or(WindowSize::default().rows),
    };
    let terminal = query.get("pty").is_none() || query.flag("pty")?;
    let mode = if terminal { Mode::Terminal(size) } else { Mode::Pipes };
    Ok(Wishes { mode, since, streams: query.flag("streams")?, acks: query.flag("acks")? })
}

fn side(query: &Query, name: &str) -> Result<Option<u16>, ApiError> {
    let number = query.number(name, 1..=u32::from(u16::MAX))?;
    // Within the range, so nothing is lost.
    Ok(number.map(|number| u16::try_from(number).unwrap_or(u16::MAX)))
}
