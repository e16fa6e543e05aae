//! Request bodies: read whole, bounded in size and time, parsed without any leniency.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::BodyExt;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::ApiError;

/// No request of the protocol comes near this; a client that sends more is wrong or hostile.
pub const BODY_CAP: u64 = 1 << 20;

/// So much is read and thrown away of a body that is too large: a client that is still sending when the connection is
/// closed mostly never reads the answer.
const DRAINED: u64 = 16 << 20;

/// How long a client may take for one whole body, so that slow senders cannot hold connections for ever.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A request's JSON body. The content type is not looked at: clients of this protocol send many.
#[derive(Debug)]
pub struct JsonBody(pub Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = read(request.into_body()).await?;
        parse(&bytes).map(Self)
    }
}

/// The same, where there may be none.
#[derive(Debug)]
pub struct MaybeJsonBody(pub Option<Value>);

impl<S: Send + Sync> FromRequest<S> for MaybeJsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = read(request.into_body()).await?;
        if bytes.trim_ascii().is_empty() { Ok(Self(None)) } else { parse(&bytes).map(|value| Self(Some(value))) }
    }
}

/// Reads a whole body of at most [`BODY_CAP`] bytes.
async fn read(body: Body) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_TIME, collect(body)).await {
        Ok(collected) => collected,
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "SANDBOX::REQUEST_TIMEOUT",
            format!("The request body did not arrive within {} seconds.", BODY_TIME.as_secs()),
        )),
    }
}

async fn collect(mut body: Body) -> Result<Bytes, ApiError> {
    // What says that it is hopelessly large is refused before a byte of it is read.
    if body.size_hint().lower() > DRAINED {
        return Err(too_large());
    }
    let mut kept = Vec::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let broken = |_| ApiError::invalid("The request body ended early or is not valid HTTP; send it again.");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        seen += data.len() as u64;
        if seen > DRAINED {
            return Err(too_large());
        }
        if seen > BODY_CAP {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if seen > BODY_CAP { Err(too_large()) } else { Ok(kept.into()) }
}

fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "SANDBOX::BODY_TOO_LARGE",
        format!("The request body is larger than {BODY_CAP} bytes."),
    )
}

/// Parses one JSON document. Refused beyond the grammar: a key that occurs twice in an object, anything after the
/// document, nesting deeper than 127 levels, numbers that no double can hold, strings that are not UTF-8.
pub fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError::invalid("The request has no body; send a JSON object."));
    }
    let strict: Strict = serde_json::from_slice(bytes)
        .map_err(|source| ApiError::invalid(format!("The request body is not valid JSON: {source}.")))?;
    Ok(strict.0)
}

/// A `Value` whose objects have no key twice. Plain `Value` keeps the last one silently, so that two parsers of the
/// same request could see two different requests.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let Strict(value) = access.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} occurs twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_documents_parse() {
        let parsed = parse(br#" {"a":[1,-2,2.5,"x\u00e9",true,null],"b":{}} "#).expect("valid");
        assert_eq!(parsed, serde_json::json!({"a": [1, -2, 2.5, "x\u{e9}", true, null], "b": {}}));
    }

    #[test]
    fn everything_doubtful_is_refused() {
        let deep = "[".repeat(100_000);
        let deep_objects = "{\"a\":".repeat(100_000);
        for bad in [
            "",
            " ",
            "{",
            "{}x",
            "{}{}",
            r#"{"a":1,"a":2}"#,
            r#"{"n":{"a":1,"a":1}}"#,
            r#"{"a":1,"\u0061":2}"#,
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":1e400}",
            "{\"a\":01}",
            r#""\ud800""#,
            "\u{feff}{}",
            deep.as_str(),
            deep_objects.as_str(),
        ] {
            let shown: String = bad.chars().take(40).collect();
            assert_eq!(parse(bad.as_bytes()).map_err(|error| error.status().as_u16()), Err(400), "{shown:?}");
        }
        assert!(parse(b"{\"a\":\"\xff\xfe\"}").is_err());
        assert!(parse(b"\xff\xfe").is_err());
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let of = |bytes: u64| Body::from(vec![b'a'; usize::try_from(bytes).expect("small")]);
        assert_eq!(read(of(BODY_CAP)).await.map(|bytes| bytes.len() as u64), Ok(BODY_CAP));
        for bytes in [BODY_CAP + 1, DRAINED, DRAINED + 1] {
            let over = read(of(bytes)).await.expect_err("too large");
            assert_eq!((over.status().as_u16(), over.code()), (413, "SANDBOX::BODY_TOO_LARGE"));
        }
    }
}
