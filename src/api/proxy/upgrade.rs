//! A connection that has become one of another protocol: WebSocket, or any other.

use std::any::Any;
use std::io;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tracing::debug;

use super::forward::Connection;
use super::headers::strip_hop_by_hop;
use super::splice::{self, Side, Socket};
use super::{Apart, TakeApart, pump};
use crate::api::access::Target;
use crate::sandbox::Inside;

/// Passes the sandbox's 101 on, and from then on bytes, both ways, until both sides have ended or the sandbox is being
/// removed. Not a byte passes before: whatever the client has sent ahead waits for this.
pub fn switch(
    inside: &Inside,
    target: &Target<'_>,
    client: (OnUpgrade, Option<TakeApart>),
    connection: Option<Connection>,
    mut told: Response<Incoming>,
) -> Response<Body> {
    let protocol = told.headers().get(header::UPGRADE).cloned();
    let sandbox = hyper::upgrade::on(&mut told);
    let (inside, port) = (inside.clone(), target.port);
    tokio::spawn(async move {
        tokio::select! {
            ended = converse(client, sandbox, connection) => {
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
    sandbox: OnUpgrade,
    connection: Option<Connection>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // The HTTP side of the connection ends by handing the stream over; it may have done so with its answer.
    let handed = async {
        match connection {
            Some(connection) => connection.await,
            None => Ok(()),
        }
    };
    let (handed, sandbox, client) = tokio::join!(handed, sandbox, client);
    handed?;
    let (client, sandbox) = (client?, sandbox?);
    match apart(client, take_apart) {
        Ok(client) => {
            let (client, _rest) = client?;
            let sandbox = sandbox.downcast::<TokioIo<TcpStream>>().map_err(|_| "it is no connection of ours")?;
            let sandbox = Side { socket: Socket::Tcp(sandbox.io.into_inner()), first: sandbox.read_buf };
            splice::both_ways(client, sandbox).await?;
        }
        Err(client) => pump::both_ways(TokioIo::new(client), TokioIo::new(sandbox)).await?,
    }
    Ok(())
}

/// With what must be kept for as long as the socket is used.
type ClientSide = (Side, Box<dyn Any + Send>);

/// The socket of a client and what belongs to it; the connection itself where it is none that is known.
fn apart(client: Upgraded, take_apart: Option<TakeApart>) -> Result<io::Result<ClientSide>, Upgraded> {
    let Some(TakeApart(take_apart)) = take_apart else { return Err(client) };
    let with_first = |Apart { socket, first, rest }| (Side { socket, first }, rest);
    take_apart(client).map(|apart| apart.map(with_first))
}
