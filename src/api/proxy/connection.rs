//! A connection into the sandbox, for one request.

use std::pin::Pin;
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
    /// Not there any more after an error: whoever waits for an answer hears of it by that.
    http: Option<Box<http1::Connection<TokioIo<TcpStream>, Sent>>>,
    over: bool,
}

impl Connection {
    pub async fn begin(stream: TcpStream) -> hyper::Result<(SendRequest<Sent>, Self)> {
        let shaken = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
        shaken.map(|(sender, http)| (sender, Self { http: Some(Box::new(http)), over: false }))
    }

    #[cfg(test)]
    pub fn failed() -> Self {
        Self { http: None, over: false }
    }

    /// Lets it work. What goes wrong is told by the answer, or by its body.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if self.over {
            return;
        }
        let Some(http) = &mut self.http else { return };
        match Pin::new(&mut **http).poll(context) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.over = true,
            Poll::Ready(Err(_)) => self.http = None,
        }
    }

    /// Lets it work until HTTP is over on it.
    pub async fn until_over(&mut self) {
        std::future::poll_fn(|context| {
            self.drive(context);
            if self.over || self.http.is_none() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The socket, and what was read of it that is not of HTTP, or that nobody has asked for yet. The connection itself after an
    /// error.
    pub fn into_socket(self) -> Result<(TcpStream, Bytes), Self> {
        match self.http {
            Some(http) => {
                let parts = http.into_parts();
                Ok((parts.io.into_inner(), parts.read_buf))
            }
            None => Err(self),
        }
    }
}
