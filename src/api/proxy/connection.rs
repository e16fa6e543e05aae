//! A connection into the sandbox, for one request.

use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::quiet::Sent;

/// Bounds what one request holds in memory, and is as much as a socket takes at once.
const BUFFER: usize = 256 << 10;

/// It works only while it is polled.
#[derive(Debug)]
pub struct Connection {
    http: Box<http1::Connection<TokioIo<TcpStream>, Sent>>,
    over: bool,
}

impl Connection {
    pub async fn begin(stream: TcpStream) -> hyper::Result<(SendRequest<Sent>, Self)> {
        let shaken = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        shaken.map(|(sender, http)| (sender, Self { http: Box::new(http), over: false }))
    }

    /// Lets it work. What goes wrong is told by the answer, or by its body.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        self.over = self.over || std::pin::Pin::new(&mut *self.http).poll(context).is_ready();
    }

    /// Lets it work until HTTP is over on it.
    pub async fn until_over(&mut self) {
        std::future::poll_fn(|context| {
            self.drive(context);
            if self.over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The socket, and what was read of it that is not of HTTP, or that nobody has asked for yet.
    pub fn into_socket(self) -> (TcpStream, Bytes) {
        let parts = self.http.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}
