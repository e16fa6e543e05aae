//! Reads the fields of a JSON object, naming the field in every complaint.
//!
//! Unknown fields are ignored, as clients send them, and `null` is the same as absent, as the Python SDK sends it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::ApiError;

/// A JSON object and where it stands in the request (empty for the body itself).
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The body of a request.
    pub fn body(value: &'a Value) -> Result<Self, ApiError> {
        let map = value.as_object().ok_or_else(|| ApiError::invalid("The request body must be a JSON object."))?;
        Ok(Self { path: String::new(), map })
    }

    /// An object inside the request, at `path`.
    pub fn at(path: String, value: &'a Value) -> Result<Self, ApiError> {
        let map = value.as_object().ok_or_else(|| wrong_type(&path, "an object", value))?;
        Ok(Self { path, map })
    }

    /// The field's full name, for messages.
    pub fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// The field's value; `None` when it is absent or null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// The names of all fields that are not null.
    pub fn given(&self) -> impl Iterator<Item = &'a str> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }

    pub fn text(&self, field: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(field, "a string", Value::as_str)
    }

    pub fn required_text(&self, field: &str) -> Result<&'a str, ApiError> {
        self.text(field)?.ok_or_else(|| self.missing(field))
    }

    pub fn boolean(&self, field: &str) -> Result<bool, ApiError> {
        Ok(self.typed(field, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A whole number; `600.0` and `"600"` are none.
    pub fn integer(&self, field: &str) -> Result<Option<i64>, ApiError> {
        self.typed(field, "a whole number of 64 bits", Value::as_i64)
    }

    pub fn list(&self, field: &str) -> Result<Option<&'a [Value]>, ApiError> {
        self.typed(field, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    pub fn object(&self, field: &str) -> Result<Option<Fields<'a>>, ApiError> {
        self.get(field).map(|value| Fields::at(self.name(field), value)).transpose()
    }

    /// An array of strings.
    pub fn texts(&self, field: &str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(items) = self.list(field)? else { return Ok(None) };
        let text = |(at, item): (usize, &Value)| match item {
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong_type(&format!("{}[{at}]", self.name(field)), "a string", other)),
        };
        items.iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// An object whose values are all strings.
    pub fn text_map(&self, field: &str) -> Result<Option<BTreeMap<String, String>>, ApiError> {
        let Some(entries) = self.nullable_text_map(field)? else { return Ok(None) };
        let present = |(key, value): (String, Option<String>)| match value {
            Some(value) => Ok((key, value)),
            None => Err(wrong_type(&self.entry(field, &key), "a string", &Value::Null)),
        };
        entries.into_iter().map(present).collect::<Result<_, _>>().map(Some)
    }

    /// An object whose values are strings or null.
    pub fn nullable_text_map(&self, field: &str) -> Result<Option<BTreeMap<String, Option<String>>>, ApiError> {
        let Some(object) = self.object(field)? else { return Ok(None) };
        object.nullable_texts(|key| self.entry(field, key)).map(Some)
    }

    /// This object itself as strings or nulls by key; `name` says how an entry is called in a complaint.
    pub fn nullable_texts(&self, name: impl Fn(&str) -> String) -> Result<BTreeMap<String, Option<String>>, ApiError> {
        let entry = |(key, value): (&String, &Value)| match value {
            Value::String(text) => Ok((key.clone(), Some(text.clone()))),
            Value::Null => Ok((key.clone(), None)),
            other => Err(wrong_type(&name(key), "a string", other)),
        };
        self.map.iter().map(entry).collect()
    }

    pub fn missing(&self, field: &str) -> ApiError {
        ApiError::invalid(format!("{} is required.", self.name(field)))
    }

    fn entry(&self, field: &str, key: &str) -> String {
        format!("{}[{}]", self.name(field), shown(key))
    }

    fn typed<T>(
        &self,
        field: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong_type(&self.name(field), wanted, value))
    }
}

/// A text of the client, quoted and cut to a length that an error message can bear.
pub fn shown(text: &str) -> String {
    const CUT: usize = 128;
    if text.chars().count() <= CUT {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(CUT).collect();
    format!("{head:?}... ({} bytes)", text.len())
}

fn wrong_type(name: &str, wanted: &str, got: &Value) -> ApiError {
    let got = match got {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the string {}", shown(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    ApiError::invalid(format!("{name} must be {wanted}, not {got}."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn complaints_name_the_field() {
        let value = json!({"image": {"uri": 5}, "env": {"A": 1}, "argv": ["a", 2], "timeout": 6.5, "on": null});
        let body = Fields::body(&value).expect("an object");
        let image = body.object("image").expect("valid").expect("there");
        let text = |result: Result<String, ApiError>| result.expect_err("refused").message().to_owned();
        assert_eq!(text(image.required_text("uri").map(str::to_owned)), "image.uri must be a string, not 5.");
        assert_eq!(text(image.required_text("tag").map(str::to_owned)), "image.tag is required.");
        assert_eq!(text(body.text_map("env").map(|_| String::new())), "env[\"A\"] must be a string, not 1.");
        assert_eq!(text(body.texts("argv").map(|_| String::new())), "argv[1] must be a string, not 2.");
        assert_eq!(
            text(body.integer("timeout").map(|_| String::new())),
            "timeout must be a whole number of 64 bits, not 6.5."
        );
        assert_eq!(body.boolean("on"), Ok(false));
        assert!(Fields::body(&json!([])).is_err());
    }

    #[test]
    fn long_texts_are_cut() {
        assert!(shown(&"\u{e9}".repeat(10_000)).len() < 400);
    }
}
