//! The head of the answer as the client sees it.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::headers::strip_hop_by_hop;
use crate::api::access::Target;

/// What a sandbox must not say, because a browser would believe it of the whole host: of this API and all other sandboxes.
/// `Server` is ours to say, and we do not.
const OF_THE_HOST: [&str; 5] =
    ["server", "alt-svc", "clear-site-data", "service-worker-allowed", "strict-transport-security"];

pub fn rewrite(headers: &mut HeaderMap, status: StatusCode, method: &Method, target: &Target<'_>) {
    strip_hop_by_hop(headers);
    OF_THE_HOST.iter().for_each(|name| drop(headers.remove(*name)));
    // Otherwise the length follows from the body, as it was understood.
    let tells_a_length = method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    if !tells_a_length {
        headers.remove(header::CONTENT_LENGTH);
    }
    let moved = headers.get(header::LOCATION).and_then(|place| moved(place.to_str().ok()?, target));
    if let Some(place) = moved {
        headers.insert(header::LOCATION, place);
    }
}

/// A place on the program's own server, as seen from outside; any other stays what it is.
fn moved(place: &str, target: &Target<'_>) -> Option<HeaderValue> {
    let own = format!("http://localhost:{}", target.port);
    let path = match place.strip_prefix(&own) {
        Some("") => "/",
        Some(path) if path.starts_with('/') => path,
        Some(_) => return None,
        None if place.starts_with('/') && !place.starts_with("//") => place,
        None => return None,
    };
    HeaderValue::from_str(&format!("{}{path}", target.prefix)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_the_programs_own_server_are_moved() {
        let path = "/v1/sandboxes/0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11/proxy/80/x";
        let target = Target::of(path).expect("a target");
        let seen = |place: &str| moved(place, &target).map(|value| value.to_str().expect("ascii").to_owned());
        for own in ["/login?a=b", "http://localhost:80/login?a=b"] {
            assert_eq!(seen(own), Some(format!("{}/login?a=b", target.prefix)));
        }
        assert_eq!(seen("http://localhost:80"), Some(format!("{}/", target.prefix)));
        for other in
            ["login", "//evil.example/", "http://127.0.0.1/", "http://localhost:8080/", "http://localhost/x", ""]
        {
            assert_eq!(seen(other), None, "{other}");
        }
    }
}
