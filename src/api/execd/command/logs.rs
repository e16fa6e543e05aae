//! `GET /command/{id}/logs?cursor=`.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

use super::named;
use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::api::stream::ChannelBody;
use crate::sandbox::commands::OutputFile;

const CURSOR: HeaderName = HeaderName::from_static("execd-commands-tail-cursor");

const CHUNK: usize = 256 << 10;

/// What a command in the background has written from `cursor` on, byte by byte; the next cursor is in a header. What is
/// not kept any more is passed over.
pub async fn logs(
    State(state): State<ApiState>,
    entered: Entered,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let cursor = match query.get("cursor") {
        None | Some("") => 0,
        Some(text) => text.parse().map_err(|_| failure::invalid("cursor must be a whole number from 0 on."))?,
    };
    let (mut parts, _) = request.into_parts();
    let none = || failure::invalid("No command in the background has this id; only those have logs.");
    let id = named(&mut parts, &state).await?.map_err(|_| none())?;
    let command = entered.shelf().await?.command(&id).ok_or_else(none)?;
    let output = Arc::clone(command.output().ok_or_else(none)?);
    let end = output.end();
    let (sender, chunks) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || send(&output, cursor, end, &sender));
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (CURSOR, end.to_string())];
    Ok((headers, Body::new(ChannelBody::new(chunks, |bytes| bytes))).into_response())
}

fn send(output: &OutputFile, mut from: u64, end: u64, to: &mpsc::Sender<io::Result<Bytes>>) {
    while from < end {
        let most = usize::try_from(end - from).unwrap_or(usize::MAX).min(CHUNK);
        let read = output.read(from, most);
        let next = read.as_ref().map_or(end, |(at, bytes)| at + bytes.len() as u64);
        if to.blocking_send(read.map(|(_, bytes)| bytes.into())).is_err() || next <= from {
            return;
        }
        from = next;
    }
}
