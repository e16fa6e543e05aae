//! Query strings: `application/x-www-form-urlencoded`, by hand, since the protocol decodes one parameter twice.

use std::collections::BTreeMap;

use axum::http::Uri;

use super::error::ApiError;
use super::fields::shown;

/// The decoded parameters of a request, in their order.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// # Errors
    /// When the decoded text is not UTF-8.
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|piece| !piece.is_empty());
        let decoded = pairs.map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((decode(name)?, decode(value)?))
        });
        decoded.collect::<Result<_, NotUtf8>>().map(Self).map_err(|_| {
            ApiError::invalid("The query string is not UTF-8 after decoding; percent-encode its UTF-8 bytes.")
        })
    }

    /// Every value of the parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parameter's value; of several, the last.
    pub fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).last()
    }

    /// `true`, `1`, `false`, `0`, or absent.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(ApiError::invalid(format!("{name} must be true or false, not {}.", shown(other)))),
        }
    }

    /// A whole number in `range`.
    pub fn number(&self, name: &str, range: std::ops::RangeInclusive<u32>) -> Result<Option<u32>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u32>().ok().filter(|number| plain && range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            ApiError::invalid(format!("{name} must be a whole number from {least} to {most}, not {}.", shown(text)))
        })
    }
}

#[derive(Debug)]
struct NotUtf8;

/// Decodes `+` and `%XX`; a `%` that no two hexadecimal digits follow stands for itself, as in the reference.
fn decode(text: &str) -> Result<String, NotUtf8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = if *first == b'%' { hex_pair(tail) } else { None };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8(bytes).map_err(|_| NotUtf8)
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (high, low) = (digit(*bytes.first()?)?, digit(*bytes.get(1)?)?);
    Some(high << 4 | low)
}

/// The `metadata` parameter: once decoded as a parameter, it is a query string itself, whose names and values are
/// decoded again. Parsed strictly, as the reference does: a piece without `=` is an error.
pub fn metadata(text: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let refuse = |why: String| ApiError::refused("INVALID_METADATA_FORMAT", format!("Invalid metadata format: {why}"));
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pair = |piece: &str| {
        let (name, value) =
            piece.split_once('=').ok_or_else(|| refuse(format!("bad query field: '{}'", brief(piece))))?;
        match (decode(name), decode(value)) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(refuse(format!("'{}' is not UTF-8 after decoding", brief(piece)))),
        }
    };
    text.split('&').map(pair).collect()
}

fn brief(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, ApiError> {
        Query::of(&format!("/x?{text}").parse().expect("a URI"))
    }

    #[test]
    fn parameters_repeat_and_decode() {
        let query = query("state=Running&state=pau%73ed&q=a+b%2Bc&flag&half=%4&&bad=%zz").expect("valid");
        assert_eq!(query.all("state").collect::<Vec<_>>(), ["Running", "paused"]);
        assert_eq!(query.get("q"), Some("a b+c"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!((query.get("half"), query.get("bad")), (Some("%4"), Some("%zz")));
        assert_eq!(query.get("none"), None);
    }

    #[test]
    fn broken_utf8_is_refused() {
        assert!(query("a=%ff%fe").is_err());
        assert!(query("%c3=1").is_err());
    }

    #[test]
    fn numbers_and_flags() {
        let read = |text: &str| query(text).expect("valid").number("page", 1..=200);
        assert_eq!(read("page=1"), Ok(Some(1)));
        assert_eq!(read("x=1"), Ok(None));
        for bad in ["page=0", "page=201", "page=", "page=+1", "page=1.0", "page=-1", "page=99999999999999999999"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let flag = |text: &str| query(text).expect("valid").flag("follow");
        assert_eq!((flag("follow=TRUE"), flag("follow=0"), flag("")), (Ok(true), Ok(false), Ok(false)));
        assert!(flag("follow=yes").is_err());
    }

    #[test]
    fn metadata_is_decoded_a_second_time() {
        let query = query("metadata=tag%3Da%2520b%26k%3Dx%2526y").expect("valid");
        let parsed = metadata(query.get("metadata").unwrap_or_default()).expect("valid");
        let expected = [("k", "x&y"), ("tag", "a b")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(parsed.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn metadata_is_parsed_strictly() {
        let refusal = metadata("broken").expect_err("refused");
        assert_eq!(refusal.code(), "INVALID_METADATA_FORMAT");
        assert_eq!(refusal.message(), "Invalid metadata format: bad query field: 'broken'");
        for bad in ["a=1&", "&", "a=1&&b=2", "a=%ff"] {
            assert!(metadata(bad).is_err(), "{bad}");
        }
        assert_eq!(metadata("").map(|map| map.len()), Ok(0));
        assert_eq!(metadata("a=").map(|map| map.len()), Ok(1));
    }
}
