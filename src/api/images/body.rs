//! A request's body as something that blocking code can read.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// Pieces that wait for the reader. A piece is what one read of the connection gave, so this is well under a megabyte.
const WAITING: usize = 8;
/// A client that sends nothing for so long is taken for gone.
const IDLE: Duration = Duration::from_secs(60);

/// `None` is the end that the client meant; a channel that just closes is a client that went away.
type Piece = Option<Bytes>;

#[derive(Debug)]
pub struct BodyReader {
    pieces: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

pub fn channel() -> (mpsc::Sender<Piece>, BodyReader) {
    let (sender, pieces) = mpsc::channel(WAITING);
    (sender, BodyReader { pieces, rest: Bytes::new(), ended: false })
}

/// Passes the body on until its end, or until nobody reads any more. What it says of the end is what the reader hears.
pub async fn feed(mut body: Body, pieces: mpsc::Sender<Piece>) {
    loop {
        let piece = tokio::select! {
            next = tokio::time::timeout(IDLE, body.frame()) => match next {
                Ok(Some(Ok(frame))) => frame.into_data().ok(),
                Ok(None) => return drop(pieces.send(None).await),
                Ok(Some(Err(_))) | Err(_) => return,
            },
            () = pieces.closed() => return,
        };
        if let Some(bytes) = piece.filter(|bytes| !bytes.is_empty())
            && pieces.send(Some(bytes)).await.is_err()
        {
            return;
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && !self.ended && !buffer.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Some(bytes)) => self.rest = bytes,
                Some(None) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off")),
            }
        }
        let taken = self.rest.split_to(buffer.len().min(self.rest.len()));
        buffer.iter_mut().zip(&taken).for_each(|(to, from)| *to = *from);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: Body) -> io::Result<Vec<u8>> {
        let (pieces, mut reader) = channel();
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        feed(body, pieces).await;
        reading.await.expect("no panic")
    }

    #[tokio::test]
    async fn a_whole_body_arrives() {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
        assert_eq!(read(Body::from(bytes.clone())).await.expect("read"), bytes);
        assert_eq!(read(Body::empty()).await.expect("read"), b"");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        sender.send(Ok(Bytes::from_static(b"begun"))).await.expect("sent");
        sender.send(Err(io::Error::other("reset"))).await.expect("sent");
        drop(sender);
        let body = Body::new(crate::api::stream::ChannelBody::new(receiver, |bytes| bytes));
        assert_eq!(read(body).await.expect_err("broken").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_reader_that_stops_stops_the_feeding() {
        let (pieces, reader) = channel();
        drop(reader);
        let (_open, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        feed(Body::new(crate::api::stream::ChannelBody::new(receiver, |bytes| bytes)), pieces).await;
    }
}
