//! One request, from the client to the sandbox, and its answer back.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use super::bypass::{Around, Bypass};
use super::connection::Connection;
use super::passing::{Left, Passing, left};
use super::pipe::Pipe;
use super::quiet::{Quiet, Sent};
use super::{HalfClose, Socket, TakeApart, answer, failure, request, upgrade};
use crate::api::access::Target;
use crate::api::error::ApiError;
use crate::sandbox::Inside;

/// From so many bytes on, an answer of a known length is worth a pipe.
const LONG: u64 = 1 << 20;

/// What the operator has decided.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long a program may take to begin its answer.
    pub limit: Duration,
    /// Whether the program gets the `Authorization` of its clients.
    pub passes_authorization: bool,
}

pub async fn forward(
    inside: &Inside,
    target: &Target<'_>,
    uri: &Uri,
    mut asked: Request<Body>,
    Rules { limit, passes_authorization }: Rules,
) -> Result<Response<Body>, ApiError> {
    let (mut sender, mut connection) = connect(inside, target, limit).await?;
    let protocol = request::upgrade_of(asked.headers(), asked.body());
    let client = protocol.is_some().then(|| hyper::upgrade::on(&mut asked));
    let (mut parts, body) = asked.into_parts();
    request::rewrite(&mut parts, target, uri, protocol, passes_authorization)?;
    let half_close = parts.extensions.remove::<HalfClose>().unwrap_or_default();
    let is_bare = body.is_end_stream();
    if is_bare {
        half_close.allow();
    }
    let take_apart = parts.extensions.remove::<TakeApart>();
    // What is left of a request's body could still be on its way when the answer comes.
    let bypass = parts.extensions.remove::<Bypass>().filter(|_| is_bare);
    parts.extensions.clear();
    let method = parts.method.clone();
    let quiet = Quiet::new(limit);
    let request = Request::from_parts(parts, Sent { body, quiet: quiet.clone(), half_close });
    let mut told = exchange(inside, target, (&mut sender, &mut connection), request, &quiet).await?;
    if told.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = client.ok_or_else(|| failure::unasked_upgrade(target))?;
        return Ok(upgrade::switch(inside, target, (client, take_apart), connection, told));
    }
    let status = told.status();
    answer::rewrite(told.headers_mut(), status, &method, target);
    if client.is_some() {
        // What the client may have sent after its request is of the other protocol, and must not be taken for a request.
        told.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let left = left(inside);
    Ok(told.map(|body| match (bypass, body.size_hint().exact()) {
        (Some(bypass), Some(length)) if length >= LONG => around(body, length, connection, bypass, left),
        _ => Body::new(Passing::new(body, connection, left)),
    }))
}

/// Leaves HTTP on the connection into the sandbox, with the body that has begun to come over it; goes on in HTTP where that
/// cannot be.
fn around(mut body: Incoming, length: u64, connection: Connection, by: Bypass, left: Left) -> Body {
    let Ok(pipe) = Pipe::new() else {
        return Body::new(Passing::new(body, connection, left));
    };
    let (socket, read) = match connection.into_socket() {
        Ok(parts) => parts,
        Err(connection) => return Body::new(Passing::new(body, connection, left)),
    };
    let mut first = VecDeque::new();
    // What was taken for a part of the body already. An error is found again by whoever reads on.
    while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
        first.extend(frame.into_data());
    }
    first.push_back(read);
    Body::new(Around::new(length, first, (Socket::Tcp(socket), pipe), by, left))
}

async fn connect(
    inside: &Inside,
    target: &Target<'_>,
    limit: Duration,
) -> Result<(SendRequest<Sent>, Connection), ApiError> {
    let connected = tokio::select! {
        connected = timeout(limit, inside.connect(target.port)) => connected,
        _ = inside.left() => return Err(failure::gone(inside)),
    };
    let stream = connected.map_err(|_| failure::too_slow(target, limit))?;
    let stream = stream.map_err(|error| failure::not_connected(inside, target, error))?;
    Connection::begin(stream).await.map_err(|error| failure::no_answer(target, &error))
}

/// The head of the answer.
async fn exchange(
    inside: &Inside,
    target: &Target<'_>,
    (sender, connection): (&mut SendRequest<Sent>, &mut Connection),
    request: Request<Sent>,
    quiet: &Quiet,
) -> Result<Response<Incoming>, ApiError> {
    let mut answered = pin!(sender.send_request(request));
    let (mut left, mut too_long) = (pin!(inside.left()), pin!(quiet.too_long()));
    let mut over = false;
    loop {
        tokio::select! {
            biased;
            answer = &mut answered => return answer.map_err(|error| failure::no_answer(target, &error)),
            // Why it is over is said with the answer.
            () = connection.until_over(), if !over => over = true,
            _ = &mut left => return Err(failure::gone(inside)),
            () = &mut too_long => return Err(failure::too_slow(target, quiet.limit())),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn an_answer_whose_connection_has_failed_leaves_nothing_with_its_client() {
        let (ours, mut program) = UnixStream::pair().expect("a pair");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.expect("shaken");
        tokio::spawn(connection);
        tokio::spawn(async move {
            program.read_u8().await.expect("a request");
            program.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n").await.expect("sent");
        });
        let told = sender.send_request(Request::new(Body::empty())).await.expect("a head");
        let bypass = Bypass::default();
        let left = Box::pin(std::future::pending());
        let body = around(told.into_body(), 5_000_000, Connection::failed(), bypass.clone(), left);
        assert!(bypass.is_free());
        assert!(body.collect().await.is_err(), "it has broken off");
    }
}
