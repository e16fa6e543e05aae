//! Who may speak to the API: whoever presents one of the configured keys, or whoever reaches the socket.
//!
//! On a Unix socket the file's permissions are the authentication and [`Auth::None`] is right; on TCP the daemon asks
//! for keys, or was told not to ([`Auth::Open`]). The check stands before routing and before the body: a caller without a key learns nothing. The ports of
//! a sandbox have keys of their own beside it: [`crate::api::access`].

mod file;
mod key;
mod names;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

pub use file::{KeyFileError, read_key_file};
pub use key::{ApiKey, InvalidKey};
pub use names::Names;

use super::access::{Access, Target, Way, now, token_header};
use super::error::ApiError;
use super::state::ApiState;

pub const HEADER: HeaderName = HeaderName::from_static("open-sandbox-api-key");

/// Answered without a key: they say nothing about anybody's sandboxes, and probes and clients ask them first.
const OPEN_PATHS: [&str; 3] = ["/health", "/version", "/openapi.json"];

/// How requests of one listener are authenticated.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Everybody who reaches the listener is let in, but browser pages.
    None,
    /// The same where browsers can connect: whoever is let in calls the server by one of these names.
    Open(Names),
    /// Any of these keys lets in.
    Keys(Vec<ApiKey>),
}

/// Lets a request pass, or answers 401 or 403 in its place.
pub async fn check(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    match admit(&state.auth, &state.access, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn admit(auth: &Auth, access: &Access, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let target = Target::of(uri.path());
    if OPEN_PATHS.contains(&uri.path()) {
        return Ok(());
    }
    // Such an address is what it says even where nobody is asked for a key: its end was meant.
    if let Some(target @ Target { way: Way::Signed(address), .. }) = &target {
        admit_signed(access, target, address)?;
        return if matches!(auth, Auth::Keys(_)) || target.is_of_user() {
            Ok(())
        } else {
            refuse_browsers(headers, false)
        };
    }
    let open = target.as_ref().is_some_and(|target| access.is_open(target));
    match auth {
        Auth::Keys(_) if open => Ok(()),
        Auth::Keys(keys) => match &target {
            Some(target) if access.admits(target, headers) => Ok(()),
            Some(target) if !headers.contains_key(HEADER) => Err(no_access(target)),
            _ => admit_key(keys, headers),
        },
        Auth::Open(names) if open => names.check(uri, headers),
        Auth::None if open => Ok(()),
        Auth::Open(_) | Auth::None => {
            if let Auth::Open(names) = auth {
                names.check(uri, headers)?;
            }
            refuse_browsers(headers, target.as_ref().is_some_and(Target::is_of_user))
        }
    }
}

fn admit_signed(access: &Access, target: &Target<'_>, address: &str) -> Result<(), ApiError> {
    if access.honours(target, address, now()) {
        return Ok(());
    }
    let message = "The address was not signed by this server for this port, or its time is over. Ask \
                   GET /sandboxes/{id}/endpoints/{port}?expires=SECONDS for another.";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "MISSING_OR_INVALID_SECURE_ACCESS", message))
}

/// 401 for a port, with what would open it.
fn no_access(target: &Target<'_>) -> ApiError {
    let message = format!(
        "Access to this port is missing. Send what GET /sandboxes/{id}/endpoints/{port} returns in headers ({header}), or \
         the API key in OPEN-SANDBOX-API-KEY.",
        id = target.id,
        port = target.door,
        header = token_header(target.door),
    );
    ApiError::new(StatusCode::UNAUTHORIZED, "MISSING_OR_INVALID_SECURE_ACCESS", message)
}

fn admit_key(keys: &[ApiKey], headers: &HeaderMap) -> Result<(), ApiError> {
    let unauthorized = |code, message| Err(ApiError::new(StatusCode::UNAUTHORIZED, code, message));
    let mut presented = headers.get_all(HEADER).iter();
    match (presented.next(), presented.next()) {
        (Some(key), None) if !key.is_empty() && key::any_matches(keys, key.as_bytes()) => Ok(()),
        (Some(key), None) if !key.is_empty() => {
            unauthorized("INVALID_API_KEY", "Authentication credentials are invalid. Check your API key and try again.")
        }
        // Two parties on the way could believe two different ones.
        (Some(_), Some(_)) => unauthorized(
            "INVALID_API_KEY",
            "Authentication credentials are ambiguous. Send exactly one OPEN-SANDBOX-API-KEY header.",
        ),
        _ => unauthorized(
            "MISSING_API_KEY",
            "Authentication credentials are missing. Provide API key via OPEN-SANDBOX-API-KEY header.",
        ),
    }
}

/// Without keys, a page in a browser on this machine could reach a listener on a loopback address: a form or `fetch` needs
/// no permission to send a POST. Browsers mark what they send, and no client of this API is a browser.
///
/// A page that a program in a sandbox serves is of the same origin as this API, so it is refused like any other. To see the
/// port itself in a browser, its owner opens it or asks for a signed address: then only who knows the sandbox gets there.
/// A token changes nothing, and to the exec API not even a signed address does: without keys whoever reaches this server gets
/// them by asking, such a page as well.
fn refuse_browsers(headers: &HeaderMap, of_user: bool) -> Result<(), ApiError> {
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if headers.contains_key("origin") || site.is_some_and(|site| site != b"none") {
        let message = if of_user {
            "A server without API keys does not answer web pages. To use this port in a browser, ask for a signed address \
             (GET /sandboxes/{id}/endpoints/{port}?expires=SECONDS), or set [proxy] open_ports = true."
        } else {
            "A server without API keys does not answer web pages. Configure a key, or use a client that is no browser."
        };
        return Err(ApiError::new(StatusCode::FORBIDDEN, "SANDBOX::BROWSER_REFUSED", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::api::access::Secret;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn keys() -> Auth {
        let key = |text: &str| ApiKey::parse(text).expect("a key");
        Auth::Keys(vec![key("another-key-of-thirty-two-bytes!"), key(KEY)])
    }

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a header value"));
        }
        headers
    }

    fn code(auth: &Auth, path: &str, pairs: &[(&'static str, &[u8])]) -> Option<(u16, &'static str)> {
        code_with(&Access::new(Secret::random()), auth, path, pairs)
    }

    fn code_with(
        access: &Access,
        auth: &Auth,
        path: &str,
        pairs: &[(&'static str, &[u8])],
    ) -> Option<(u16, &'static str)> {
        admit(auth, access, &path.parse().expect("a path"), &headers(pairs))
            .err()
            .map(|error| (error.status().as_u16(), error.code()))
    }

    const NAME: &str = "open-sandbox-api-key";

    #[test]
    fn any_of_the_keys_lets_in() {
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, KEY.as_bytes())]), None);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, b"another-key-of-thirty-two-bytes!")]), None);
    }

    #[test]
    fn everything_else_is_refused() {
        let missing = Some((401, "MISSING_API_KEY"));
        let invalid = Some((401, "INVALID_API_KEY"));
        let own = KEY.as_bytes();
        assert_eq!(code(&keys(), "/v1/sandboxes", &[]), missing);
        assert_eq!(code(&keys(), "/nosuch", &[]), missing);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, b"")]), missing);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[("authorization", b"Bearer 0123456789abcdef")]), missing);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, b"wrong")]), invalid);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, &own[..31])]), invalid);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, b"\xff\xfe")]), invalid);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, own), (NAME, own)]), invalid);
        assert_eq!(code(&keys(), "/v1/sandboxes", &[(NAME, own), (NAME, b"x")]), invalid);
        assert_eq!(code(&Auth::Keys(Vec::new()), "/v1/sandboxes", &[(NAME, own)]), invalid);
    }

    #[test]
    fn only_the_exact_open_paths_are_open() {
        for path in OPEN_PATHS {
            assert_eq!(code(&keys(), path, &[]), None, "{path}");
        }
        for path in ["/healthy", "/health/", "/v1/health", "/health/../v1/sandboxes", "/metrics", "//health"] {
            assert!(code(&keys(), path, &[]).is_some(), "{path}");
        }
    }

    #[test]
    fn without_keys_only_web_pages_are_refused() {
        assert_eq!(code(&Auth::None, "/v1/sandboxes", &[]), None);
        assert_eq!(code(&Auth::None, "/v1/sandboxes", &[("sec-fetch-site", b"none")]), None);
        for page in [("origin", &b"http://evil.example"[..]), ("origin", b"null"), ("sec-fetch-site", b"cross-site")] {
            assert_eq!(code(&Auth::None, "/v1/sandboxes", &[page]), Some((403, "SANDBOX::BROWSER_REFUSED")));
        }
    }

    /// What is admitted to a port by a token, by a signed address, and where ports are open.
    fn ways_in(auth: &Auth, port: u16, more: &[(&'static str, &[u8])]) -> [Option<u16>; 3] {
        let id = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11".parse().expect("an id");
        let mut access = Access::new(Secret::random());
        let token = access.token(&id, port);
        let name = if port == 80 { "opensandbox-secure-access" } else { "x-execd-access-token" };
        let with_token = [&[(name, token.as_bytes())], more].concat();
        let (plain, signed) = (format!("/sandboxes/{id}/proxy/{port}/"), access.sign(&id, port, 4_000_000_000));
        let signed = format!("/sandboxes/{id}/signed/{signed}/{port}/");
        let by_token = code_with(&access, auth, &plain, &with_token);
        let by_address = code_with(&access, auth, &signed, more);
        access.open_ports = true;
        [by_token, by_address, code_with(&access, auth, &plain, more)].map(|refused| refused.map(|(status, _)| status))
    }

    #[test]
    fn a_page_gets_to_ports_only_where_that_was_meant() {
        let page: [(&'static str, &[u8]); 2] = [("origin", b"http://localhost"), ("host", b"localhost")];
        for auth in [Auth::None, Auth::Open(Names::default())] {
            assert_eq!(ways_in(&auth, 80, &page[1..]), [None, None, None], "no page");
            assert_eq!(ways_in(&auth, 80, &page), [Some(403), None, None]);
            assert_eq!(ways_in(&auth, 44772, &page[1..]), [None, None, None]);
            assert_eq!(ways_in(&auth, 44772, &page), [Some(403), Some(403), Some(403)]);
        }
        assert_eq!(ways_in(&keys(), 80, &page), [None, None, None]);
        assert_eq!(ways_in(&keys(), 44772, &page), [None, None, Some(401)]);
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_leads_nowhere() {
        let (open, evil) = (Auth::Open(Names::default()), ("host", &b"evil.example:8080"[..]));
        assert_eq!(code(&open, "/v1/sandboxes", &[evil]), Some((403, "SANDBOX::HOST_REFUSED")));
        assert_eq!(code(&open, "/v1/sandboxes", &[("host", b"127.0.0.1:8080")]), None);
        assert_eq!(code(&open, "/health", &[evil]), None);
        // The address is the secret.
        assert_eq!(ways_in(&open, 80, &[evil]), [Some(403), None, Some(403)]);
        assert_eq!(code(&Auth::None, "/v1/sandboxes", &[evil]), None, "no browser reaches a socket");
        assert_eq!(code(&keys(), "/v1/sandboxes", &[evil, (NAME, KEY.as_bytes())]), None);
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", keys());
        assert!(!shown.contains("0123") && !shown.contains("another"), "{shown}");
    }
}
