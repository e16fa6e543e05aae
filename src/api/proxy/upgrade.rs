//! A connection that has become one of another protocol: WebSocket, or any other.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::forward::Connection;
use super::headers::strip_hop_by_hop;
use super::pump;
use crate::api::access::Target;
use crate::sandbox::Inside;

/// Passes the sandbox's 101 on, and from then on bytes, both ways, until both sides have ended or the sandbox is being
/// removed. Not a byte passes before: whatever the client has sent ahead waits for this.
pub fn switch(
    inside: &Inside,
    target: &Target<'_>,
    client: OnUpgrade,
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
    client: OnUpgrade,
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
    pump::both_ways(TokioIo::new(client?), TokioIo::new(sandbox?)).await?;
    Ok(())
}
