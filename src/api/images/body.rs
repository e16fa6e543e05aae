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
/// How long the rest of a body that was refused is taken in.
const DRAIN: Duration = Duration::from_secs(10);

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

/// Passes the body on until its end. When nobody reads any more, the rest is thrown away for a while: a client that is
/// still sending when the connection is closed mostly never reads why.
pub async fn feed(mut body: Body, pieces: mpsc::Sender<Piece>) {
    loop {
        let next = tokio::select! {
            next = next(&mut body) => next,
            () = pieces.closed() => return drain(body).await,
        };
        let Some(piece) = next else { return };
        let end = piece.is_none();
        if pieces.send(piece).await.is_err() {
            return drain(body).await;
        }
        if end {
            return;
        }
    }
}

async fn drain(mut body: Body) {
    let rest = async { while let Some(Some(_)) = next(&mut body).await {} };
    drop(tokio::time::timeout(DRAIN, rest).await);
}

/// The next piece or the end; `None` when the client went away or fell silent.
async fn next(body: &mut Body) -> Option<Piece> {
    loop {
        match tokio::time::timeout(IDLE, body.frame()).await.ok()? {
            None => return Some(None),
            Some(frame) => match frame.ok()?.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Some(Some(bytes)),
                _ => {}
            },
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
    async fn the_rest_is_taken_in_when_nobody_reads() {
        let (pieces, reader) = channel();
        drop(reader);
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
        let sending = tokio::spawn(async move {
            for _ in 0..100 {
                sender.send(Ok(Bytes::from_static(b"more"))).await.expect("taken in");
            }
        });
        feed(Body::new(crate::api::stream::ChannelBody::new(receiver, |bytes| bytes)), pieces).await;
        sending.await.expect("all was taken in");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up() {
        let (pieces, mut reader) = channel();
        let (_open, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        feed(Body::new(crate::api::stream::ChannelBody::new(receiver, |bytes| bytes)), pieces).await;
        let read = tokio::task::spawn_blocking(move || reader.read(&mut [0; 8])).await.expect("no panic");
        assert_eq!(read.expect_err("given up").kind(), io::ErrorKind::UnexpectedEof);
    }
}
