//! What PID 1 keeps of a context for the next daemon.

use serde::{Deserialize, Serialize};

use super::Language;
use crate::sandbox::LABEL_BYTES;

/// The longest directory of a context: it must fit into the label, where a character may take six bytes.
pub const CWD_BYTES: usize = (LABEL_BYTES - 200) / 6;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The id of the context.
    pub code_context: String,
    pub language: String,
    pub cwd: Option<String>,
    /// It is the one of its language for runs that name none.
    pub is_default: bool,
    pub created_unix_nanos: i64,
}

impl Label {
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `None` for executions that are none of a context. The text comes back from inside the sandbox.
    pub fn from_text(text: &str) -> Option<(Self, Language)> {
        let label: Self = serde_json::from_str(text).ok()?;
        uuid::Uuid::parse_str(&label.code_context).ok()?;
        let language = Language::named(&label.language)?;
        Some((label, language))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_and_is_no_commands_label() {
        let label = Label {
            code_context: uuid::Uuid::nil().to_string(),
            language: "javascript".to_owned(),
            cwd: Some("\u{1}".repeat(CWD_BYTES)),
            is_default: false,
            created_unix_nanos: i64::MIN,
        };
        let text = label.to_text();
        assert!(text.len() <= LABEL_BYTES, "{}", text.len());
        assert_eq!(Label::from_text(&text), Some((label, Language::JavaScript)));
        assert_eq!(crate::sandbox::commands::Label::from_text(&text), None);
        assert_eq!(Label::from_text("files"), None);
    }
}
