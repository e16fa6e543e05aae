//! Output in lines, as the exec API tells it: without their ends, and an empty one as a line feed.

/// Output without any line end is told in pieces of this size.
const LONGEST: usize = 1 << 20;

/// Both `\n` and `\r` end a line, and the two together are one end.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    after_return: bool,
}

impl Lines {
    /// The lines that are complete with these bytes. What is not UTF-8 becomes U+FFFD: JSON has no other way.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, end) = match piece.split_last() {
                Some((end @ (b'\n' | b'\r'), text)) => (text, Some(*end)),
                _ => (piece, None),
            };
            let only_feed = end == Some(b'\n') && text.is_empty();
            if only_feed && std::mem::take(&mut self.after_return) {
                continue;
            }
            self.partial.extend_from_slice(text);
            self.after_return = end == Some(b'\r');
            if end.is_some() {
                lines.push(self.take());
            } else if self.partial.len() > LONGEST {
                lines.push(self.take_whole_characters());
            }
        }
        lines
    }

    /// What came after the last line end.
    pub fn finish(&mut self) -> Vec<String> {
        if self.partial.is_empty() { Vec::new() } else { vec![self.take()] }
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        if text.is_empty() { "\n".to_owned() } else { text }
    }

    /// A character that is cut in two stays for the next piece.
    fn take_whole_characters(&mut self) -> String {
        let cut = match std::str::from_utf8(&self.partial) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.partial.len(),
        };
        let rest = self.partial.split_off(cut);
        let text = self.take();
        self.partial = rest;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut told: Vec<String> = chunks.iter().flat_map(|chunk| lines.push(chunk)).collect();
        told.extend(lines.finish());
        told
    }

    #[test]
    fn lines_end_in_any_way_and_are_whole_across_chunks() {
        assert_eq!(lines(&[b"a\nb\r", b"\nc\rd"]), ["a", "b", "c", "d"]);
        assert_eq!(lines(&[b"\n\n", b"x\n"]), ["\n", "\n", "x"]);
        assert_eq!(lines(&["é\n".as_bytes().split_at(1).0, "é\n".as_bytes().split_at(1).1]), ["é"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
        assert_eq!(lines(&[b""]), Vec::<String>::new());
        assert_eq!(lines(&[b"a\r\n\r\nb"]), ["a", "\n", "b"]);
    }

    #[test]
    fn one_endless_line_is_told_in_pieces() {
        let chunk = "é".repeat(40_000);
        let bytes = chunk.as_bytes();
        let mut parts = Lines::default();
        let mut told: Vec<String> = (0..50).flat_map(|_| parts.push(&bytes[..bytes.len() - 1])).collect();
        assert!(told.len() > 2 && told.iter().all(|piece| piece.len() <= LONGEST * 2));
        told.clear();
        assert!(parts.partial.len() <= LONGEST);
    }
}
