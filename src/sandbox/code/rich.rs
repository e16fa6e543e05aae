//! Values by their mime types, as the JSON text in which they came.

use std::borrow::Cow;
use std::fmt;

use hyper::body::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A value has a handful of types.
const MOST_TYPES: usize = 64;
const LONGEST_TYPE: usize = 256;

/// What JSON readers everywhere take; more could overwhelm one.
const DEEPEST: usize = 127;

/// A value by its mime types. Each text is one JSON value on one line, and shares the memory of the line it came in.
#[derive(Debug, PartialEq)]
pub struct Rich(Vec<(String, Bytes)>);

impl Rich {
    /// `data` is a part of `line`. `None` when it is nothing that a client should see.
    pub(super) fn of(line: &Bytes, data: &RawValue) -> Option<Self> {
        let Types(found) = serde_json::from_str(data.get()).ok().filter(|_| is_flat(data.get().as_bytes()))?;
        let mut parts: Vec<(String, Bytes)> = Vec::with_capacity(found.len());
        for (mime, value) in found {
            parts.retain(|(other, _)| *other != mime);
            if value.get() != "null" {
                parts.push((mime.into_owned(), line.slice_ref(value.get().as_bytes())));
            }
        }
        Some(Self(parts))
    }

    /// The types and their values.
    #[must_use]
    pub fn into_parts(self) -> Vec<(String, Bytes)> {
        self.0
    }

    /// One that is made up.
    #[cfg(test)]
    pub fn from_parts(parts: Vec<(String, Bytes)>) -> Self {
        Self(parts)
    }
}

/// A text, cut off at so many bytes.
pub(super) fn text(raw: &RawValue, most: usize) -> Option<String> {
    let text: Cow<'_, str> = serde_json::from_str::<Text<'_>>(raw.get()).ok()?.0;
    Some(cut(&text, most))
}

/// Texts, of which all together have so many bytes; the last one says where there were more.
pub(super) fn texts(raw: &RawValue, most: usize) -> Option<Vec<String>> {
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    reader.deserialize_seq(Texts(most)).ok()
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned() + "..."
}

/// Not nested deeper than readers bear. The text is valid JSON.
fn is_flat(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return false;
        }
    }
    true
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Types<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Types<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bundle;

        impl<'de> Visitor<'de> for Bundle {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MOST_TYPES} values by their mime types")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some((Text(mime), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if found.len() == MOST_TYPES || mime.len() > LONGEST_TYPE {
                        return Err(serde::de::Error::invalid_length(found.len() + 1, &self));
                    }
                    found.push((mime, value));
                }
                Ok(found)
            }
        }

        from.deserialize_map(Bundle).map(Self)
    }
}

/// Reads texts until they are enough.
struct Texts(usize);

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        // An empty line takes memory too.
        const EACH: usize = 24;
        let (mut texts, mut left) = (Vec::new(), self.0);
        while let Some(Text(text)) = all.next_element::<Text<'de>>()? {
            if text.len() + EACH > left {
                while all.next_element::<IgnoredAny>()?.is_some() {}
                texts.push("...".to_owned());
                break;
            }
            left -= text.len() + EACH;
            texts.push(text.into_owned());
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(data: &str) -> Option<Vec<(String, String)>> {
        let line = Bytes::from(data.to_owned());
        let raw: &RawValue = serde_json::from_slice(&line).expect("valid");
        let parts = Rich::of(&line, raw)?.into_parts();
        Some(parts.into_iter().map(|(mime, text)| (mime, String::from_utf8_lossy(&text).into_owned())).collect())
    }

    fn pair(mime: &str, text: &str) -> (String, String) {
        (mime.to_owned(), text.to_owned())
    }

    #[test]
    fn values_stay_as_they_are_written() {
        let found = parts(r#"{"text/plain":"a\u2028\"","image\u002fpng" : [1, {"a":"]"}] ,"none":null}"#);
        assert_eq!(found, Some(vec![pair("text/plain", r#""a\u2028\"""#), pair("image/png", r#"[1, {"a":"]"}]"#)]));
        assert_eq!(parts(r#"{"a":1,"a":2,"b":1,"b":null}"#), Some(vec![pair("a", "2")]));
        assert_eq!(parts("{}"), Some(Vec::new()));
    }

    #[test]
    fn what_could_overwhelm_a_reader_is_refused() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parts(&nested(DEEPEST - 1)).is_some());
        assert_eq!(parts(&nested(DEEPEST)), None);
        assert!(parts(&format!("{{\"a\":\"{}\"}}", "[\\\"".repeat(1000))).is_some(), "brackets in a text are none");
        assert_eq!(parts(&format!("{{\"{}\":1}}", "m".repeat(LONGEST_TYPE + 1))), None);
        assert_eq!(parts("[]"), None);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("valid");
        assert_eq!(text(&raw(r#""\u00e9\u00e9""#), 4).as_deref(), Some("\u{e9}\u{e9}"));
        assert_eq!(text(&raw(r#""\u00e9\u00e9""#), 3).as_deref(), Some("\u{e9}..."));
        assert_eq!(text(&raw("1"), 3), None);
        assert_eq!(texts(&raw(r#"["a","b"]"#), 100), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(texts(&raw(r#"["a","bcd",1]"#), 30), Some(vec!["a".to_owned(), "...".to_owned()]));
        assert_eq!(texts(&raw(r#"["a",1]"#), 300), None);
    }
}
