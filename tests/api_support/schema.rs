//! Holds answers against the served description: the part of JSON Schema that it uses.

use serde_json::Value;

use super::Reply;

pub fn document() -> Value {
    serde_json::from_str(include_str!("../../src/api/openapi.json")).expect("openapi.json is JSON")
}

/// The path of the description that a request's path falls under, and what it says of it.
pub fn find<'a>(document: &'a Value, path: &str) -> Option<(&'a str, &'a Value)> {
    let path = path.split('?').next().unwrap_or_default();
    let plain = path.strip_prefix("/v1").unwrap_or(path);
    let paths = document["paths"].as_object()?;
    // A path without parameters goes before one with them, as in the router.
    let mut fitting: Vec<_> =
        paths.iter().filter(|(pattern, item)| fits(pattern, plain) && is_at(item, path)).collect();
    fitting.sort_by_key(|(pattern, _)| pattern.matches('{').count());
    fitting.first().map(|(pattern, item)| (pattern.as_str(), *item))
}

/// Whether a path is served where the request looked for it.
fn is_at(item: &Value, path: &str) -> bool {
    match item["servers"][0]["url"].as_str() {
        Some("/") => !path.starts_with("/v1/"),
        Some(prefix) => path.starts_with(prefix),
        None => true,
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some("{path}"), Some(_)) => return true,
            // The name of an image has slashes.
            (Some("{name}"), Some(part)) if !part.is_empty() && pattern.starts_with("/images") => return true,
            (Some(pattern), Some(part)) if pattern.starts_with('{') && !part.is_empty() => {}
            (Some(pattern), Some(part)) if pattern == part => {}
            _ => return false,
        }
    }
}

/// Panics when the description does not know this answer to this request.
pub fn check(method: &str, path: &str, reply: &Reply) {
    let document = document();
    let Some((pattern, item)) = find(&document, path) else {
        return assert!(matches!(reply.status, 400..=404), "{path} is not described, and answered {}", reply.status);
    };
    let Some(operation) = item.get(method.to_ascii_lowercase()) else { return };
    let told = resolve(&document, &operation["responses"][reply.status.to_string()]);
    // What a program in a sandbox answers is its own affair.
    if told.is_null() && operation["responses"]["default"].is_object() {
        return;
    }
    assert!(told.is_object(), "{method} {pattern} answered {}, which is not described", reply.status);
    let content = reply.header("content-type").unwrap_or_default();
    let kind = content.split(';').next().unwrap_or_default();
    if !reply.body.is_empty() {
        assert!(told["content"].get(kind).is_some(), "{method} {pattern} answered with {kind}: {}", reply.text());
        if kind == "application/json" {
            let problem = problem(&document, &told["content"][kind]["schema"], &reply.json(), "");
            assert_eq!(problem, None, "{method} {pattern}: {}", reply.text());
        }
    }
    for header in told["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_ascii_lowercase()) {
        let present = reply.headers.contains_key(&header) || matches!(header.as_str(), "deprecation");
        assert!(present, "{method} {pattern} answered without {header}");
    }
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect(reference),
        None => value,
    }
}

/// What is wrong with a value, if anything.
pub fn problem(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let schema = resolve(document, schema);
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_a(kind, value)) {
        return Some(format!("{at} is no {kinds:?}: {value}"));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        return Some(format!("{at} is none of {}: {value}", schema["enum"]));
    }
    if schema["minimum"].as_i64().is_some_and(|least| value.as_i64().is_some_and(|number| number < least)) {
        return Some(format!("{at} is too small: {value}"));
    }
    if schema["format"] == "date-time" && !value.as_str().is_some_and(is_time) {
        return Some(format!("{at} is no time of ours: {value}"));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(number, item)| problem(document, &schema["items"], item, &format!("{at}[{number}]"))),
        Value::Object(fields) => object_problem(document, schema, fields, at),
        _ => None,
    }
}

fn object_problem(
    document: &Value,
    schema: &Value,
    fields: &serde_json::Map<String, Value>,
    at: &str,
) -> Option<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for name in required {
        if !fields.contains_key(name) {
            return Some(format!("{at}.{name} is missing"));
        }
    }
    fields.iter().find_map(|(name, value)| {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => problem(document, schema, value, &at),
            (None, Value::Bool(false)) => Some(format!("{at} is not described")),
            (None, schema @ Value::Object(_)) => problem(document, schema, value, &at),
            _ => None,
        }
    })
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// `2026-01-02T03:04:05Z`, or with six or nine digits behind a point.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let digits = shape.strip_prefix("0000-00-00T00:00:00").and_then(|rest| rest.strip_suffix('Z'));
    matches!(digits, Some("" | ".000000" | ".000000000"))
}
