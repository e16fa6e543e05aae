//! Bodies that come as they are made.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// A body of what comes through a channel. An error breaks the connection off, so that the client sees that the end is
/// missing; a client that goes away closes the channel.
pub struct ChannelBody<T> {
    batches: mpsc::Receiver<io::Result<T>>,
    encode: fn(T) -> Bytes,
}

impl<T> ChannelBody<T> {
    pub fn new(batches: mpsc::Receiver<io::Result<T>>, encode: fn(T) -> Bytes) -> Self {
        Self { batches, encode }
    }
}

impl<T> fmt::Debug for ChannelBody<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBody").finish_non_exhaustive()
    }
}

impl<T> HttpBody for ChannelBody<T> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let encode = self.encode;
        let framed = |batch: io::Result<T>| batch.map(|batch| Frame::data(encode(batch)));
        self.batches.poll_recv(context).map(|next| next.map(framed))
    }
}
