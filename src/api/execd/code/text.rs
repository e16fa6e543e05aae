//! Output as text, in the pieces in which it came.

/// Keeps back the beginning of a character that is cut in two.
#[derive(Debug, Default)]
pub struct Text {
    partial: Vec<u8>,
}

impl Text {
    /// What can be told with these bytes. What is not UTF-8 becomes U+FFFD: JSON has no other way.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.partial.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text += valid;
                    self.partial.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text += &String::from_utf8_lossy(valid);
                    let Some(bad) = error.error_len() else {
                        self.partial = after.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(bad..).unwrap_or_default();
                }
            }
        }
    }

    /// What is left of a character that never came whole.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_whole_whatever_the_pieces() {
        let bytes = "a\u{e9}\u{20ac}\u{1f600}\n".as_bytes();
        for size in 1..=bytes.len() {
            let mut text = Text::default();
            let told: String = bytes.chunks(size).map(|piece| text.push(piece)).collect();
            assert_eq!(told + &text.finish(), "a\u{e9}\u{20ac}\u{1f600}\n", "{size}");
        }
        let mut text = Text::default();
        assert_eq!(text.push(b"\xff\xfea\xe2\x82"), "\u{fffd}\u{fffd}a");
        assert_eq!(text.finish(), "\u{fffd}");
        assert_eq!(text.finish(), "");
    }
}
