//! One request, from the client to the sandbox, and its answer back.

use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::passing::Passing;
use super::quiet::{Quiet, Sent};
use super::{HalfClose, TakeApart, answer, failure, request, upgrade};
use crate::api::access::Target;
use crate::api::error::ApiError;
use crate::sandbox::Inside;

/// The connection into the sandbox. It works only while it is polled.
pub type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Bounds what one request holds in memory, and is as much as a socket takes at once.
const BUFFER: usize = 256 << 10;

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
    let (mut sender, connection) = connect(inside, target, limit).await?;
    let mut connection = Some(connection);
    let protocol = request::upgrade_of(asked.headers(), asked.body());
    let client = protocol.is_some().then(|| hyper::upgrade::on(&mut asked));
    let (mut parts, body) = asked.into_parts();
    request::rewrite(&mut parts, target, uri, protocol, passes_authorization)?;
    let half_close = parts.extensions.remove::<HalfClose>().unwrap_or_default();
    if body.is_end_stream() {
        half_close.allow();
    }
    let take_apart = parts.extensions.remove::<TakeApart>();
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
    Ok(told.map(|body| Body::new(Passing::new(body, connection, inside))))
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
    let shaken = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| failure::no_answer(target, &error))?;
    Ok((sender, Box::pin(connection.with_upgrades())))
}

/// The head of the answer. The connection is taken away when it ends by itself meanwhile.
async fn exchange(
    inside: &Inside,
    target: &Target<'_>,
    (sender, connection): (&mut SendRequest<Sent>, &mut Option<Connection>),
    request: Request<Sent>,
    quiet: &Quiet,
) -> Result<Response<Incoming>, ApiError> {
    let mut answered = pin!(sender.send_request(request));
    let (mut left, mut too_long) = (pin!(inside.left()), pin!(quiet.too_long()));
    loop {
        tokio::select! {
            biased;
            answer = &mut answered => return answer.map_err(|error| failure::no_answer(target, &error)),
            // Why it ended is said with the answer.
            _ = driven(connection.as_mut()) => *connection = None,
            _ = &mut left => return Err(failure::gone(inside)),
            () = &mut too_long => return Err(failure::too_slow(target, quiet.limit())),
        }
    }
}

async fn driven(connection: Option<&mut Connection>) -> hyper::Result<()> {
    match connection {
        Some(connection) => connection.await,
        None => std::future::pending().await,
    }
}
