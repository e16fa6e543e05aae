//! `X-Request-ID`: every answer carries one, so that a user's report finds its line in the log.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the answer the client's id, or a fresh one, whatever becomes of the request.
pub async fn attach(request: Request, next: Next) -> Response {
    let id = of(request.headers());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), method = %request.method());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(HEADER, id);
    response
}

/// The client's own id when it is 1 to 128 visible ASCII characters, so that nothing that it sends can forge a line of
/// a log or a header; otherwise a random one.
fn of(headers: &HeaderMap) -> HeaderValue {
    let own = headers.get(HEADER).and_then(|value| value.to_str().ok()).map(str::trim);
    own.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
        .and_then(|id| HeaderValue::from_str(id).ok())
        .unwrap_or_else(fresh)
}

fn fresh() -> HeaderValue {
    let id = uuid::Uuid::new_v4().simple().to_string();
    // 32 hexadecimal digits are a valid header value; the other arm cannot be reached and needs no panic.
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sent: Option<&[u8]>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(value) = sent {
            headers.insert(HEADER, HeaderValue::from_bytes(value).expect("a header value"));
        }
        of(&headers).to_str().expect("ascii").to_owned()
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        assert_eq!(answer(Some(b"rid1")), "rid1");
        assert_eq!(answer(Some(b"  a-b_c.1  ")), "a-b_c.1");
        let long = [b'a'; 129];
        for bad in [None, Some(&b""[..]), Some(b"  "), Some(b"a b"), Some(b"\xff\xfe"), Some(&long[..])] {
            let id = answer(bad);
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad:?} became {id}");
        }
    }
}
