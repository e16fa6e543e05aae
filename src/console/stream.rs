//! Bodies of requests that a thread makes while they are sent.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame};
use tokio::sync::mpsc;

use super::client::Body;

/// Large enough that the way through the channel costs nothing beside the copying.
const PIECE: usize = 256 << 10;

/// Pieces between the reader and the connection: one is sent, one waits, one is filled.
const PIECES: usize = 2;

/// A body of what `fill` writes, no faster than the connection takes it. When it fails, the request breaks off.
pub fn body(fill: impl FnOnce(&mut Pieces) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel(PIECES);
    let mut pieces = Pieces { sender, piece: Vec::with_capacity(PIECE) };
    // The thread ends with its source, or when nobody takes the pieces any more.
    drop(tokio::task::spawn_blocking(move || {
        if let Err(error) = fill(&mut pieces).and_then(|()| pieces.flush()) {
            // A receiver that is gone has had its answer, which tells more than this error.
            drop(pieces.sender.blocking_send(Err(error)));
        }
    }));
    Received(receiver).boxed()
}

/// Collects what is written into pieces and sends them.
pub struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("waiting", &self.piece.len()).finish_non_exhaustive()
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE.saturating_sub(self.piece.len()).min(bytes.len());
        self.piece.extend_from_slice(bytes.get(..room).unwrap_or_default());
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let full = mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(Bytes::from(full))).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The pieces as the body of a request.
struct Received(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_carries_every_byte() {
        let bytes: Vec<u8> = (0..PIECE * 3 + 17).map(|at| u8::try_from(at % 251).expect("small")).collect();
        let source = bytes.clone();
        let body = body(move |pieces| pieces.write_all(&source));
        assert_eq!(body.collect().await.expect("collected").to_bytes(), bytes);
    }

    #[tokio::test]
    async fn a_body_that_fails_has_no_end() {
        let body = body(|pieces| {
            pieces.write_all(b"begun")?;
            Err(io::Error::other("gone"))
        });
        assert_eq!(body.collect().await.map(|_| ()).expect_err("broken").to_string(), "gone");
    }
}
