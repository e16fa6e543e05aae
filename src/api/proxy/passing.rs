//! The body of an answer on its way out of the sandbox.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::connection::Connection;
use crate::sandbox::Inside;

/// A body together with the connection that it comes over: to ask for the next part drives the connection, so there is no
/// task beside it and nothing is read that nobody has asked for. It breaks off when the sandbox is being removed.
pub struct Passing {
    body: Incoming,
    connection: Connection,
    left: Left,
}

impl Passing {
    pub fn new(body: Incoming, connection: Connection, left: Left) -> Self {
        Self { body, connection, left }
    }
}

/// Over when the sandbox is being removed.
pub type Left = Pin<Box<dyn Future<Output = ()> + Send>>;

pub fn left(inside: &Inside) -> Left {
    let inside = inside.clone();
    Box::pin(async move {
        inside.left().await;
    })
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        // To ask first tells the connection that there is room.
        let mut polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_pending() {
            this.connection.drive(context);
            polled = Pin::new(&mut this.body).poll_frame(context);
        }
        if polled.is_pending() && this.left.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(io::Error::other("the sandbox has ended"))));
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
