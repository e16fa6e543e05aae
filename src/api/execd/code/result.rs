//! The event of a result, of which no second copy is made.

use axum::body::Bytes;
use serde_json::json;

use crate::api::execd::sse;
use crate::sandbox::code::Rich;

/// A value of this size goes on as it is; smaller ones are put together.
const LARGE: usize = 8 << 10;

/// A plain text that is none, but some other value, is told as the text of it up to this size.
const ODD: usize = 64 << 10;

/// The pieces of the event, after what comes `before` it.
pub fn event(before: String, rich: Rich) -> Vec<Bytes> {
    let whole = sse::event("result", json!({ "results": {} }));
    let (head, tail) = whole.split_once("{}").unwrap_or_default();
    let (mut pieces, mut text) = (Vec::new(), before + head + "{");
    for (at, (name, value)) in named(rich).into_iter().enumerate() {
        text += if at == 0 { "" } else { "," };
        text += &format!("{}:", json!(name));
        match std::str::from_utf8(&value) {
            Ok(value) if value.len() < LARGE => text += value,
            _ => pieces.extend([Bytes::from(std::mem::take(&mut text)), value]),
        }
    }
    pieces.push(Bytes::from(text + "}" + tail));
    pieces
}

/// Clients look for the plain text under a name of its own.
fn named(rich: Rich) -> Vec<(String, Bytes)> {
    let (plain, mut others): (Vec<_>, Vec<_>) =
        rich.into_parts().into_iter().partition(|(mime, _)| mime == "text/plain");
    let text = |value: Bytes| match value.first() {
        Some(b'"') => Some(value),
        _ if value.len() <= ODD => Some(Bytes::from(json!(String::from_utf8_lossy(&value)).to_string())),
        _ => None,
    };
    if let Some(text) = plain.into_iter().next().and_then(|(_, value)| text(value)) {
        others.retain(|(mime, _)| mime != "text");
        others.insert(0, ("text".to_owned(), text));
    }
    others
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn told(parts: &[(&str, &str)]) -> (usize, Value) {
        let parts = parts.iter().map(|(mime, text)| ((*mime).to_owned(), Bytes::from((*text).to_owned()))).collect();
        let pieces = event("before\n\n".to_owned(), Rich::from_parts(parts));
        let all = String::from_utf8(pieces.concat()).expect("text");
        let event = all.strip_prefix("before\n\ndata: ").and_then(|rest| rest.strip_suffix("\n\n")).expect("an event");
        let event: Value = serde_json::from_str(event).expect("JSON");
        assert!(event["type"] == "result" && event["timestamp"].is_u64(), "{event}");
        (pieces.len(), event["results"].clone())
    }

    #[test]
    fn results_have_their_text_where_clients_look_for_it() {
        let (pieces, results) = told(&[("image/png", "\"aGk=\""), ("text/plain", "\"2\""), ("text", "\"no\"")]);
        assert_eq!((pieces, results), (1, json!({"text": "2", "image/png": "aGk="})));
        assert_eq!(told(&[]).1, json!({}));
        assert_eq!(told(&[("text/plain", "{\"a\": 1}")]).1, json!({"text": "{\"a\": 1}"}));
        assert_eq!(told(&[("text/plain", &"1".repeat(ODD + 1)), ("a\"b", "1")]).1, json!({"a\"b": 1}));
    }

    #[test]
    fn a_large_value_is_a_piece_of_its_own() {
        let large = format!("\"{}\"", "x".repeat(LARGE));
        let (pieces, results) = told(&[("a", "1"), ("b", &large), ("c", "3")]);
        assert_eq!((pieces, &results["b"]), (3, &json!("x".repeat(LARGE))));
        assert_eq!((&results["a"], &results["c"]), (&json!(1), &json!(3)));
    }
}
