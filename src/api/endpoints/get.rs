//! `GET /sandboxes/{id}/endpoints/{port}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::HeaderMap;

use super::address;
use crate::api::access::{EGRESS_PORT, EXEC_PORT, now};
use crate::api::error::ApiError;
use crate::api::extract::{Id, Port};
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::api::types::EndpointBody;
use crate::sandbox::Denial;

/// Tells where a port is reached and what to send along. Nobody looks whether anything listens there: a client asks before
/// it has started its program, and for port 18080 of every sandbox.
pub async fn get(
    State(state): State<ApiState>,
    Id(id): Id,
    Port(port): Port,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    query: Query,
) -> Result<Json<EndpointBody>, ApiError> {
    if let Err(denial @ Denial::NotFound { .. }) = state.sandboxes.inside(&id) {
        return Err(ApiError::denied(denial, "DOCKER::SANDBOX_QUERY_FAILED"));
    }
    // The server is its own proxy, so there is one address for both.
    let by_proxy = query.flag("use_server_proxy")?;
    let expires = expires(&query)?;
    let host = address::of_server(&state.access, &uri, &headers)?;
    let sandbox = format!("{host}{mount}/sandboxes/{id}", mount = address::mount(uri.path()));
    match expires {
        Some(_) if by_proxy => {
            Err(ApiError::invalid("expires cannot be combined with use_server_proxy=true; leave one of them out."))
        }
        Some(expires) => {
            let address = state.access.sign(&id, port, expires);
            Ok(Json(EndpointBody { endpoint: format!("{sandbox}/signed/{address}/{port}"), headers: BTreeMap::new() }))
        }
        None => {
            let token = (header_name(port).to_owned(), state.access.token(&id, port));
            let endpoint = format!("{sandbox}/proxy/{port}");
            Ok(Json(EndpointBody { endpoint, headers: BTreeMap::from([token]) }))
        }
    }
}

/// As the specifications write them.
fn header_name(port: u16) -> &'static str {
    match port {
        EXEC_PORT => "X-EXECD-ACCESS-TOKEN",
        EGRESS_PORT => "OPENSANDBOX-EGRESS-AUTH",
        _ => "OpenSandbox-Secure-Access",
    }
}

/// Whole seconds of the Unix epoch, in the future.
fn expires(query: &Query) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.get("expires") else { return Ok(None) };
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (text == "0" || !text.starts_with('0'));
    let expires = text.parse::<u64>().ok().filter(|_| canonical);
    let expires = expires.ok_or_else(|| {
        ApiError::invalid("expires must be a time in whole seconds since 1970 (date -d '1 hour' +%s), in plain digits.")
    })?;
    if expires <= now() {
        return Err(ApiError::invalid(
            "expires must be in the future; it is a time in seconds since 1970, not a span.",
        ));
    }
    Ok(Some(expires))
}
