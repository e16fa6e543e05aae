//! The address of a port, as clients put it behind `http://`.

use axum::http::{HeaderMap, Uri, header};

use crate::api::access::{Access, is_host};
use crate::api::error::ApiError;

/// What this server is called by who asks: `public_host` where it is set, else the request's own word for it.
pub fn of_server(access: &Access, uri: &Uri, headers: &HeaderMap) -> Result<String, ApiError> {
    if let Some(host) = &access.public_host {
        return Ok(host.to_string());
    }
    if let Some(authority) = uri.authority().filter(|authority| is_host(authority.as_str())) {
        return Ok(authority.to_string());
    }
    let mut named = headers.get_all(header::HOST).iter();
    match (named.next().map(|host| host.to_str()), named.next()) {
        (Some(Ok(host)), None) if is_host(host) => Ok(host.to_owned()),
        // Only what speaks HTTP/1.0 sends none, over the socket.
        (None, _) => Ok("localhost".to_owned()),
        _ => Err(ApiError::invalid("The Host header must be one host, with or without a port.")),
    }
}

/// The part of the path before the routes of the protocol, which is kept as the caller used it.
pub fn mount(path: &str) -> &'static str {
    if path.starts_with("/v1/") { "/v1" } else { "" }
}
