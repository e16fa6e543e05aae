//! What PID 1 keeps of a command for the next daemon.

use serde::{Deserialize, Serialize};

use crate::sandbox::LABEL_BYTES;

/// A character of the text may take six bytes where it is written, and there is more in a label.
const TEXT_BYTES: usize = (LABEL_BYTES - 200) / 6;

/// How a command was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody listens to its output.
    Foreground,
    /// Its output goes to disk.
    Background,
    /// A run of a session.
    Session,
    /// Clients take part in it, through a terminal.
    Terminal,
    /// Clients take part in it, through pipes.
    Piped,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub kind: Kind,
    /// What was to be run; a long one is cut.
    pub content: String,
    pub started_unix_nanos: i64,
}

impl Label {
    pub fn to_text(&self) -> String {
        let mut short = self.clone();
        short.content.truncate(short.content.floor_char_boundary(TEXT_BYTES));
        serde_json::to_string(&short).unwrap_or_default()
    }

    /// `None` for executions that are none of ours: file servants, code contexts.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_label_fits() {
        let label = Label { kind: Kind::Background, content: "\u{1}é".repeat(5000), started_unix_nanos: i64::MIN };
        let text = label.to_text();
        assert!(text.len() <= LABEL_BYTES, "{}", text.len());
        let read = Label::from_text(&text).expect("a label");
        assert!(label.content.starts_with(&read.content) && read.content.len() > 200);
        assert_eq!(Label::from_text("files"), None);
    }
}
