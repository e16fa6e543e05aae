//! The head of the request as the sandbox sees it.

use axum::body::{Body, HttpBody};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request};

use super::Peer;
use super::headers::{strip_hop_by_hop, tokens};
use crate::api::access::Target;
use crate::api::error::ApiError;

/// Sent to us, not to the sandbox: credentials for this server, cookies of this host (which any sandbox on it may have
/// set), what proxies before us say of the client, and what the connection's framing follows from.
const OURS: [&str; 13] = [
    "cookie",
    "open-sandbox-api-key",
    "opensandbox-secure-access",
    "opensandbox-egress-auth",
    "x-execd-access-token",
    "opensandbox-access-renew",
    "forwarded",
    "x-real-ip",
    "host",
    // It may hold the signed address of another sandbox's port.
    "referer",
    "content-length",
    // Our own listener has answered it by the time that a body comes.
    "expect",
    "http2-settings",
];

/// What browsers send by themselves to every sandbox of this host, once one of them has asked for it.
const OF_BROWSERS: [&str; 4] = ["basic", "digest", "negotiate", "ntlm"];

/// Whether the credentials are for the program in the sandbox: the operator says that none of this server's own come in this
/// header, and whoever sends them has put them there on purpose.
fn are_of_the_program(credentials: &HeaderValue) -> bool {
    let scheme = credentials.to_str().unwrap_or_default().split(' ').next().unwrap_or_default();
    !scheme.is_empty() && !OF_BROWSERS.iter().any(|other| scheme.eq_ignore_ascii_case(other))
}

/// What an upgrade asks for, if the request asks for one that we carry.
///
/// Not a request with a body: what belongs to which protocol would be open to interpretation. And not HTTP/2 in clear
/// text, which some clients offer with every request and every server may ignore.
pub fn upgrade_of(headers: &HeaderMap, body: &Body) -> Option<HeaderValue> {
    let asked = tokens(headers, header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    match (protocols.next(), protocols.next()) {
        (Some(one), None) if asked && body.is_end_stream() && one != "h2c" => Some(one.clone()),
        _ => None,
    }
}

/// Writes the request's head anew. `parts` keeps its method.
pub fn rewrite(
    parts: &mut request::Parts,
    target: &Target<'_>,
    uri: &Uri,
    upgrade: Option<HeaderValue>,
    passes_authorization: bool,
) -> Result<(), ApiError> {
    parts.uri = below(target, uri)?;
    parts.version = axum::http::Version::HTTP_11;
    let host = parts.headers.get(header::HOST).cloned();
    let host = host.or_else(|| HeaderValue::from_str(uri.authority()?.as_str()).ok());
    let headers = &mut parts.headers;
    strip_hop_by_hop(headers);
    OURS.iter().for_each(|name| drop(headers.remove(*name)));
    if !passes_authorization || !headers.get_all(header::AUTHORIZATION).iter().all(are_of_the_program) {
        headers.remove(header::AUTHORIZATION);
    }
    let forwarded = |name: &&HeaderName| name.as_str().starts_with("x-forwarded");
    let forwarded: Vec<HeaderName> = headers.keys().filter(forwarded).cloned().collect();
    forwarded.iter().for_each(|name| drop(headers.remove(name)));
    let mut set = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    set("host", HeaderValue::from_str(&format!("localhost:{}", target.port)).ok());
    set("x-forwarded-proto", Some(HeaderValue::from_static("http")));
    set("x-forwarded-host", host);
    let peer = parts.extensions.get::<Peer>().map(|Peer(address)| address.to_string());
    set("x-forwarded-for", peer.and_then(|address| HeaderValue::from_str(&address).ok()));
    let connection = if upgrade.is_some() { "upgrade" } else { "close" };
    set("connection", Some(HeaderValue::from_static(connection)));
    set("upgrade", upgrade);
    Ok(())
}

/// What follows the port, byte for byte, with the query.
fn below(target: &Target<'_>, uri: &Uri) -> Result<Uri, ApiError> {
    let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = whole.get(target.prefix.len()..).unwrap_or_default();
    let rooted = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let path = rooted.parse::<PathAndQuery>().map_err(|_| ApiError::invalid("The path is none that HTTP knows."))?;
    Ok(Uri::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";

    #[test]
    fn the_path_below_the_port_stays_as_it_is() {
        for (rest, sent) in [
            ("", "/"),
            ("/", "/"),
            ("?q=1", "/?q=1"),
            ("/a%2Fb/../%zz?x=%41&y=a+b&&z", "/a%2Fb/../%zz?x=%41&y=a+b&&z"),
            ("//two?", "//two?"),
        ] {
            let uri: Uri = format!("/v1/sandboxes/{ID}/proxy/80{rest}").parse().expect("a path");
            let target = Target::of(uri.path()).expect("a target");
            assert_eq!(below(&target, &uri).expect("a path").to_string(), sent);
        }
    }

    #[test]
    fn credentials_are_the_programs_when_no_browser_sends_them_by_itself() {
        let theirs = |text: &'static str| are_of_the_program(&HeaderValue::from_static(text));
        assert!(theirs("Bearer x") && theirs("token") && theirs("AWS4-HMAC-SHA256 Credential=x"));
        assert!(
            !["Basic x", "basic x", "DIGEST a=b", "Negotiate x", "NTLM x", "", " Bearer x"].into_iter().any(theirs)
        );
    }

    #[test]
    fn an_upgrade_is_asked_for_by_both_headers_and_without_a_body() {
        let asked = |pairs: &[(&'static str, &str)], body: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().expect("a value"));
            }
            upgrade_of(&headers, &Body::from(body)).is_some()
        };
        let both = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert!(asked(&both, ""));
        assert!(!asked(&both, "body"));
        assert!(!asked(&both[..1], ""));
        assert!(!asked(&both[1..], ""));
        assert!(!asked(&[both[0], ("upgrade", "h2c")], ""));
        assert!(!asked(&[both[0], both[1], ("upgrade", "other")], ""));
    }
}
