//! A connection that has become one of another protocol: WebSocket, or any other.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tracing::debug;

use super::connection::Connection;
use super::headers::strip_hop_by_hop;
use super::splice::{self, Side};
use super::{Apart, Socket, TakeApart};
use crate::api::access::Target;
use crate::sandbox::Inside;

/// Passes the sandbox's 101 on, and from then on bytes, both ways, until both sides have ended or the sandbox is being
/// removed. Not a byte passes before: whatever the client has sent ahead waits for this.
pub fn switch(
    inside: &Inside,
    target: &Target<'_>,
    client: (OnUpgrade, Option<TakeApart>),
    connection: Connection,
    mut told: Response<Incoming>,
) -> Response<Body> {
    let protocol = told.headers().get(header::UPGRADE).cloned();
    let (inside, port) = (inside.clone(), target.port);
    tokio::spawn(async move {
        tokio::select! {
            ended = converse(client, connection) => {
                if let Err(error) = ended {
                    debug!(%error, port, sandbox.id = %inside.id(), "an upgraded connection ended badly");
                }
            }
            _ = inside.left() => {}
        }
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = told.status();
    *answer.headers_mut() = std::mem::take(told.headers_mut());
    strip_hop_by_hop(answer.headers_mut());
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        answer.headers_mut().insert(header::UPGRADE, protocol);
    }
    answer
}

async fn converse(
    (client, take_apart): (OnUpgrade, Option<TakeApart>),
    mut connection: Connection,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // The answer may have come before HTTP was over.
    let (_, client) = tokio::join!(connection.until_over(), client);
    let (socket, first) = connection.into_socket().map_err(|_| "the connection into the sandbox has failed")?;
    let sandbox = Side { socket: Socket::Tcp(socket), first };
    let TakeApart(take_apart) = take_apart.ok_or("nobody knows what the client's connection consists of")?;
    let client = take_apart(client?).map_err(|_| "the client's connection is of another kind")?;
    let Apart { socket, first, rest: _rest } = client;
    splice::both_ways(Side { socket, first }, sandbox).await?;
    Ok(())
}
