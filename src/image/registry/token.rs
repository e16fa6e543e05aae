//! Bearer tokens: asked for where the registry says, if that is a place where its credentials may go.

use http_body_util::Empty;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use serde::Deserialize;

use super::error::{RegistryFailure, answered, failure};
use super::origin::Origin;
use super::session::Session;
use super::{Credentials, document};
use crate::image::ImageError;

/// A token is some kilobytes.
const LARGEST: u64 = 64 << 10;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// Gets a token for pulling the session's repository, and returns the value of `Authorization`.
pub async fn fetch(session: &Session, realm: &str, service: Option<&str>) -> Result<HeaderValue, ImageError> {
    let uri = address(session, realm, service)?;
    let origin = Origin::of(&uri).map_err(|problem| refused(session, problem))?;
    check(session, &origin)?;
    let mut request = Request::get(uri).body(Empty::new()).map_err(|error| refused(session, &error.to_string()))?;
    if let Some(credentials) = &session.credentials {
        request.headers_mut().insert(AUTHORIZATION, authorization(session, &origin, credentials)?);
    }
    let host = origin.to_string();
    let response = session.send_patiently(request, "a token").await?;
    match response.status() {
        StatusCode::OK => {}
        // A redirect is not followed: nobody else is to see who asks.
        status => return Err(answered(&host, status, "a token")),
    }
    let (bytes, _) =
        document::collect(response.into_body(), LARGEST, "the answer with the token", &session.transport).await?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| {
        failure(&host, RegistryFailure::Unreachable, "its answer with the token is not the JSON expected")
    })?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| failure(&host, RegistryFailure::Refused, "the token that it gave cannot be a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn refused(session: &Session, problem: &str) -> ImageError {
    let problem = format!("the realm for tokens that it names is refused: {problem}");
    failure(&session.registry.to_string(), RegistryFailure::Refused, problem)
}

fn address(session: &Session, realm: &str, service: Option<&str>) -> Result<Uri, ImageError> {
    if realm.contains('#') || realm.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(refused(session, "it is no address"));
    }
    let join = if realm.contains('?') { '&' } else { '?' };
    let scope = encoded(&format!("repository:{}:pull", session.repository));
    let service = service.map(|service| format!("service={}&", encoded(service))).unwrap_or_default();
    format!("{realm}{join}{service}scope={scope}").parse().map_err(|_| refused(session, "it is no address"))
}

/// By https, unless it is the registry itself and that is allowed to do without.
fn check(session: &Session, realm: &Origin) -> Result<(), ImageError> {
    let is_registry = realm.host == session.registry.host;
    match realm.https || (is_registry && !session.registry.https) {
        true => Ok(()),
        false => Err(refused(session, &format!("{realm} is not https"))),
    }
}

fn authorization(session: &Session, realm: &Origin, credentials: &Credentials) -> Result<HeaderValue, ImageError> {
    if may_see_credentials(session, realm) {
        return Ok(credentials.basic());
    }
    let registry = &session.registry.host;
    Err(refused(
        session,
        &format!(
            "{realm} is not {registry}'s own, so it does not get its credentials; if that is meant, add \
             \"{registry}={}\" to `token_hosts` of [registries]",
            realm.host
        ),
    ))
}

fn may_see_credentials(session: &Session, realm: &Origin) -> bool {
    let registry = &session.registry;
    // The same host by another port is somebody else, unless that port is the usual one of TLS.
    let same = realm.host == registry.host && (realm.port == registry.port || realm.port == 443);
    let pairs = &session.transport.config.token_hosts;
    let is_pair = pairs
        .iter()
        .any(|(from, to)| registry.is_listed(std::slice::from_ref(from)) && realm.is_listed(std::slice::from_ref(to)));
    let usual_ports = realm.port == 443 && registry.port == 443;
    same || is_pair || (usual_ports && (is_below(&realm.host, &registry.host) || is_below(&registry.host, &realm.host)))
}

/// `auth.r.example` is below `r.example`; nothing is below a name without a dot, or an address.
fn is_below(low: &str, high: &str) -> bool {
    let is_name = high.contains('.') && high.parse::<std::net::IpAddr>().is_err();
    is_name && low.strip_suffix(high).is_some_and(|rest| rest.ends_with('.'))
}

/// Percent-encoding of everything that is not unreserved (RFC 3986).
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_below_its_parent_only() {
        assert!(is_below("auth.docker.io", "docker.io"));
        assert!(!is_below("evildocker.io", "docker.io"));
        assert!(!is_below("a.io", "io"));
        assert!(!is_below("1.10.0.0.1", "10.0.0.1"));
    }

    #[test]
    fn a_scope_cannot_be_smuggled() {
        assert_eq!(encoded("a&scope=b c#"), "a%26scope%3Db%20c%23");
    }
}
