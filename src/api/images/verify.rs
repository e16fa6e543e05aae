//! `POST /images/verify`: whether the layers are still what was unpacked, as lines of JSON.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::api::stream::ChannelBody;
use crate::image::{Verdict, Verified};
use crate::model::with_causes;

const LINES: usize = 16;

/// One line. The last has no layer.
#[derive(Debug, Serialize)]
struct Line {
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
}

/// One at a time. A client that goes away ends it after the layer that is being read.
pub async fn verify(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let Ok(turn) = Arc::clone(&state.verifying).acquire_owned().await else {
        return Err(ApiError::unavailable("The daemon is shutting down. Try again shortly."));
    };
    let (sender, receiver) = mpsc::channel(LINES);
    let images = Arc::clone(&state.images);
    let work = move || {
        let _turn = turn;
        let send = |line: &Line| sender.blocking_send(to_bytes(line)).is_ok();
        let last = match images.verify(&mut |verified| send(&Line::of(verified))) {
            Ok(()) => Line::last("done", "every layer was read".to_owned()),
            Err(error) => Line::last("failed", format!("failed to {}", with_causes(&error))),
        };
        send(&last);
    };
    drop(tokio::task::spawn_blocking(work));
    let body = Body::new(ChannelBody::new(receiver, |line| line));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

impl Line {
    fn of(verified: Verified) -> Self {
        let (status, message) = match verified.verdict {
            Verdict::Sound => ("sound", "it is what was unpacked".to_owned()),
            Verdict::Unknown => (
                "unknown",
                "it was unpacked by an older version, which noted no checksum; pull it again for one".to_owned(),
            ),
            Verdict::Damaged(problem) => ("damaged", format!("{problem}; it is set aside and will be fetched again")),
        };
        let (layer, size) = (Some(verified.layer.diff_id), Some(verified.layer.size));
        Self { status, message, layer, size, images: Some(verified.images) }
    }

    fn last(status: &'static str, message: String) -> Self {
        Self { status, message, layer: None, size: None, images: None }
    }
}

fn to_bytes(line: &Line) -> io::Result<Bytes> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    Ok(line.into())
}
