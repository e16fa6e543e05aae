//! The values that were given, from the file, the environment and the flags, each with the place it came from.

use std::collections::BTreeMap;

use super::settings::{self, Kind, SETTINGS, Setting};

/// A value of the right kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    List(Vec<String>),
    Switch(bool),
    Number(u64),
}

/// A value and who gave it, in words that a problem with it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub value: Value,
    pub origin: String,
}

/// What was given, by key. A later layer goes before an earlier one.
#[derive(Debug, Default)]
pub struct Values {
    given: BTreeMap<&'static str, Given>,
    pub problems: Vec<String>,
}

impl Values {
    /// Takes the keys of a file's text.
    pub fn add_file(&mut self, name: &str, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => self.add_table(name, &table),
            Err(error) => self.problems.push(format!("{name}: {}", error.to_string().trim_end())),
        }
    }

    fn add_table(&mut self, name: &str, table: &toml::Table) {
        for (section, content) in table {
            match content {
                toml::Value::Table(keys) => {
                    for (key, value) in keys {
                        self.add_entry(name, &format!("{section}.{key}"), value);
                    }
                }
                value => self.add_entry(name, section, value),
            }
        }
    }

    fn add_entry(&mut self, name: &str, key: &str, value: &toml::Value) {
        let origin = format!("{name}: {key}");
        match settings::find(key) {
            Some(setting) => self.take(setting, origin, from_toml(setting.kind, value)),
            None => {
                let meant = settings::nearest(key).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                self.problems.push(format!("{name}: there is no key {key}{meant}"));
            }
        }
    }

    /// Takes the variables that are set. An empty one is the same as none.
    pub fn add_environment(&mut self, variable: impl Fn(&str) -> Option<String>) {
        for setting in SETTINGS {
            let name = setting.variable();
            if let Some(text) = variable(&name).filter(|text| !text.is_empty()) {
                self.take(setting, name, from_text(setting.kind, &text));
            }
        }
    }

    /// Takes the flags of the command line, by key.
    pub fn add_flags(&mut self, flags: &[(&'static str, Vec<String>)]) {
        for (key, texts) in flags {
            let Some(setting) = settings::find(key) else { continue };
            let origin = format!("--{}", key.rsplit('.').next().unwrap_or(key).replace('_', "-"));
            let value = match (setting.kind, texts.last()) {
                (Kind::List, _) => Ok(Value::List(texts.clone())),
                (kind, Some(text)) => from_text(kind, text),
                (_, None) => continue,
            };
            self.take(setting, origin, value);
        }
    }

    fn take(&mut self, setting: &'static Setting, origin: String, value: Result<Value, &'static str>) {
        match value {
            Ok(value) => drop(self.given.insert(setting.key, Given { value, origin })),
            Err(problem) => self.problems.push(format!("{origin}: {problem}")),
        }
    }

    /// What was given for `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Given> {
        self.given.get(key)
    }
}

fn from_toml(kind: Kind, value: &toml::Value) -> Result<Value, &'static str> {
    match (kind, value) {
        (Kind::Text | Kind::Quantity, toml::Value::String(text)) => Ok(Value::Text(text.clone())),
        (Kind::Quantity, toml::Value::Integer(number)) => Ok(Value::Text(number.to_string())),
        (Kind::Quantity, toml::Value::Float(number)) => Ok(Value::Text(number.to_string())),
        (Kind::List, toml::Value::String(text)) => Ok(Value::List(vec![text.clone()])),
        (Kind::List, toml::Value::Array(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.map(Value::List).ok_or("it must be an array of strings")
        }
        (Kind::Switch, toml::Value::Boolean(on)) => Ok(Value::Switch(*on)),
        (Kind::Number, toml::Value::Integer(number)) => {
            u64::try_from(*number).map(Value::Number).map_err(|_| "it must not be negative")
        }
        (kind, _) => Err(expected(kind)),
    }
}

fn from_text(kind: Kind, text: &str) -> Result<Value, &'static str> {
    match kind {
        Kind::Text | Kind::Quantity => Ok(Value::Text(text.to_owned())),
        Kind::List => {
            let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
            Ok(Value::List(parts.map(str::to_owned).collect()))
        }
        Kind::Switch => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Value::Switch(true)),
            "false" | "no" | "off" | "0" => Ok(Value::Switch(false)),
            _ => Err(expected(kind)),
        },
        Kind::Number => text.parse().map(Value::Number).map_err(|_| expected(kind)),
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "it must be a string",
        Kind::List => "it must be a string or an array of strings",
        Kind::Switch => "it must be true or false",
        Kind::Number => "it must be a whole number, not negative",
        Kind::Quantity => "it must be a number, or a string with a number and its unit",
    }
}
