//! The parts of an upload.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use futures_core::Stream;
use multer::{Constraints, Multipart, SizeLimit};
use tokio::sync::mpsc;

use crate::api::error::ApiError;

/// The most that the head of a part, or the description of a file, may have.
pub const DESCRIPTION: u64 = 64 << 10;

/// Reads the parts of a body that comes through a channel.
pub fn parts(headers: &HeaderMap, pieces: mpsc::Receiver<Option<Bytes>>) -> Result<Multipart<'static>, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| {
        ApiError::refused(
            "INVALID_FILE",
            "The body must be multipart/form-data with a boundary: parts metadata and file.",
        )
    })?;
    let limits = Constraints::new().size_limit(SizeLimit::new().for_field("metadata", DESCRIPTION));
    Ok(Multipart::with_constraints(Pieces { pieces, rests: false }, boundary, limits))
}

/// Gives one piece and then rests once: the parser takes in whatever is there before it hands anything out, and with a fast
/// client that would be the whole body.
struct Pieces {
    pieces: mpsc::Receiver<Option<Bytes>>,
    rests: bool,
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.pieces.poll_recv(context);
        next.map(|piece| match piece {
            Some(Some(bytes)) => {
                self.rests = true;
                Some(Ok(bytes))
            }
            Some(None) => None,
            None => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off"))),
        })
    }
}
