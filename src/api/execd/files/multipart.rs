//! The parts of an upload.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use futures_core::Stream;
use multer::{Constraints, Field, Multipart, SizeLimit};
use tokio::sync::mpsc;

use crate::api::error::ApiError;

/// The most that the description of a file may have.
pub const DESCRIPTION: u64 = 64 << 10;

/// The most that may come before a part has begun: the parser holds all of it.
const BETWEEN: usize = 1 << 20;

/// The parts of a body, each to be read before the next.
pub struct Parts {
    parts: Multipart<'static>,
    left: Arc<AtomicUsize>,
}

impl Parts {
    /// The head of the next part; `None` at the end.
    pub async fn next(&mut self) -> multer::Result<Option<Field<'static>>> {
        self.left.store(BETWEEN, Ordering::Relaxed);
        let next = self.parts.next_field().await;
        // What is in a part is handed on as it comes.
        self.left.store(usize::MAX, Ordering::Relaxed);
        next
    }
}

/// Reads the parts of a body that comes through a channel.
pub fn parts(headers: &HeaderMap, pieces: mpsc::Receiver<Option<Bytes>>) -> Result<Parts, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| {
        ApiError::refused(
            "INVALID_FILE",
            "The body must be multipart/form-data with a boundary: parts metadata and file.",
        )
    })?;
    let limits = Constraints::new().size_limit(SizeLimit::new().for_field("metadata", DESCRIPTION));
    let left = Arc::new(AtomicUsize::new(BETWEEN));
    let pieces = Pieces { pieces, rests: false, left: Arc::clone(&left) };
    Ok(Parts { parts: Multipart::with_constraints(pieces, boundary, limits), left })
}

/// Gives one piece and then rests once: the parser takes in whatever is there before it hands anything out, and with a fast
/// client that would be the whole body.
struct Pieces {
    pieces: mpsc::Receiver<Option<Bytes>>,
    rests: bool,
    left: Arc<AtomicUsize>,
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
                match self.left.load(Ordering::Relaxed).checked_sub(bytes.len()) {
                    Some(left) => self.left.store(left, Ordering::Relaxed),
                    None => return Some(Err(io::Error::other("too much stands between two parts"))),
                }
                Some(Ok(bytes))
            }
            Some(None) => None,
            None => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off"))),
        })
    }
}
