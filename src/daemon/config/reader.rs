//! Reads values as what they mean and collects every problem on the way, so that all are told at once.

use std::path::PathBuf;
use std::time::Duration;

use super::values::{Given, Value, Values};

/// Reads [`Values`]; a value that cannot be read leaves a problem behind and counts as not given.
#[derive(Debug)]
pub struct Reader {
    values: Values,
}

impl Reader {
    #[must_use]
    pub fn new(values: Values) -> Self {
        Self { values }
    }

    /// Every problem so far.
    #[must_use]
    pub fn into_problems(self) -> Vec<String> {
        self.values.problems
    }

    /// A problem that belongs to no single value.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.values.problems.push(text.into());
    }

    /// What `parse` makes of the value of `key`.
    pub fn parsed<T, E: std::fmt::Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let Some(Given { value: Value::Text(text), origin }) = self.values.get(key) else { return None };
        match parse(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                let problem = format!("{origin}: {problem}");
                self.problem(problem);
                None
            }
        }
    }

    /// What `parse` makes of each element of the list of `key`.
    pub fn each<T, E: std::fmt::Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
        let Some(Given { value: Value::List(texts), origin }) = self.values.get(key).cloned() else { return None };
        let mut all = Vec::new();
        for text in texts {
            match parse(&text) {
                Ok(value) => all.push(value),
                Err(problem) => self.problem(format!("{origin}: {problem}")),
            }
        }
        Some(all)
    }

    #[must_use]
    pub fn switch(&self, key: &str) -> Option<bool> {
        match self.values.get(key)?.value {
            Value::Switch(on) => Some(on),
            _ => None,
        }
    }

    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    #[must_use]
    pub fn seconds(&self, key: &str) -> Option<Duration> {
        self.number(key).map(Duration::from_secs)
    }

    /// A path that does not depend on where the daemon was started.
    pub fn absolute(&mut self, key: &str) -> Option<PathBuf> {
        self.parsed(key, |text| {
            let path = PathBuf::from(text);
            if path.is_absolute() { Ok(path) } else { Err(format!("{text:?} is not an absolute path")) }
        })
    }
}
