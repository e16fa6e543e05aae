//! The reverse proxy: requests to a port of a sandbox, carried to what listens there.
//!
//! Each request has a connection of its own into the sandbox, so nothing of one is ever left for the next, and its head is
//! written anew from what was understood of it, so no two can disagree about where a request ends. What was sent for us
//! (keys, tokens, cookies of this host) stays here. Streams pass both ways as they come, and end when the sandbox is being
//! removed.

mod answer;
mod apart;
mod bypass;
mod connection;
mod failure;
mod forward;
mod half_close;
mod headers;
mod passing;
mod pipe;
mod quiet;
mod request;
mod socket;
mod splice;
mod upgrade;

use std::net::IpAddr;

pub use apart::{Apart, TakeApart};
pub use bypass::{Bypass, Held, Wire};
pub use half_close::HalfClose;
pub use socket::Socket;

use forward::Rules;

use axum::extract::{OriginalUri, Request, State};
use axum::http::Method;
use axum::response::Response;

use super::access::{EGRESS_PORT, EXEC_PORT, Target};
use super::error::ApiError;
use super::extract::{Id, Port};
use super::router::{unknown_route, wrong_method};
use super::state::ApiState;

/// Who is at the other end of a connection, where that is an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Any method, any path below the port.
pub async fn pass(
    State(state): State<ApiState>,
    Id(id): Id,
    _: Port,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Result<Response, ApiError> {
    let plainly = "Write the port in plain digits, and nothing of id and port percent-encoded.";
    let target = Target::of(uri.path()).ok_or_else(|| ApiError::invalid(plainly))?;
    let inside = state.sandboxes.inside(&id).map_err(|denial| ApiError::denied(denial, failure::FAILED))?;
    match target.port {
        EXEC_PORT | EGRESS_PORT => return Err(unknown_route(request.method().clone(), uri).await),
        _ => {}
    }
    // The one asks a proxy to become a tunnel, the other to show what it was sent.
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(wrong_method(request.method().clone(), uri).await);
    }
    let rules = Rules { limit: state.proxy_timeout, passes_authorization: state.proxy_authorization };
    forward::forward(&inside, &target, &uri, request, rules).await
}
