//! `GET /images/export`: an image as an OCI archive, packed while it is sent.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, oneshot};

use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::api::stream::ChannelBody;
use crate::image::ImageError;
use crate::model::with_causes;

const PIECE: usize = 256 << 10;
/// Pieces that wait for a slow client.
const PIECES: usize = 2;

/// Whatever fails before the first byte is an answer of its own; after that, the answer breaks off.
pub async fn export(State(state): State<ApiState>, query: Query) -> Result<Response, ApiError> {
    let missing = || ApiError::invalid("name is missing: say which image in the query, as in ?name=debian:13.");
    let name = query.get("name").filter(|name| !name.is_empty()).ok_or_else(missing)?.to_owned();
    let Ok(turn) = Arc::clone(&state.exports).acquire_owned().await else {
        return Err(ApiError::unavailable("The daemon is shutting down. Try again shortly."));
    };
    let (begun, ready) = oneshot::channel();
    let (pieces, receiver) = mpsc::channel(PIECES);
    let images = Arc::clone(&state.images);
    let work = move || {
        let _turn = turn;
        let exporting = match images.export(&name) {
            Ok(exporting) => exporting,
            // A client that has gone away does not want to know.
            Err(error) => return drop(begun.send(Err(error))),
        };
        if begun.send(Ok(())).is_err() {
            return;
        }
        let mut out = Pieces { sender: pieces, piece: Vec::with_capacity(PIECE) };
        if let Err(error) = exporting.write(&mut out).and_then(|()| out.end()) {
            if !out.sender.is_closed() {
                tracing::warn!(image = name, error = with_causes(&error), "failed to export an image");
            }
            drop(out.sender.blocking_send(Err(io::Error::other(error))));
        }
    };
    drop(tokio::task::spawn_blocking(work));
    let interrupted = || ApiError::internal("IMAGE::FAILED", "The work on the image was interrupted; try again.");
    ready.await.map_err(|_| interrupted())?.map_err(ApiError::image)?;
    let body = Body::new(ChannelBody::new(receiver, Bytes::from));
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], body).into_response())
}

/// Collects what is written, and hands it to the connection piece by piece.
struct Pieces {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn end(&mut self) -> Result<(), ImageError> {
        self.hand_over().map_err(|error| ImageError::Io { action: "send the archive".to_owned(), source: error })
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let piece = mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        // `count` is at most the length.
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.hand_over()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
