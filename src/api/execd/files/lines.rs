//! Lines of a file, cut out while it is read: a line may be longer than memory.

/// Takes a file in pieces, and gives back the lines that are wanted: joined by line feeds, none at the end, and without the
/// carriage return before a line feed.
#[derive(Debug)]
pub struct Lines {
    /// Lines that are still to be passed over, and lines that are wanted then, the current one among them.
    skipped: u64,
    left: u64,
    /// A line feed, or a carriage return, that counts only if more follows.
    feed: bool,
    carriage: bool,
}

impl Lines {
    /// Lines are counted from 1.
    pub fn new(first: u64, count: u64) -> Self {
        Self { skipped: first.saturating_sub(1), left: count, feed: false, carriage: false }
    }

    /// Nothing more is wanted.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        while self.skipped > 0 {
            let Some(end) = memchr::memchr(b'\n', bytes) else { return Vec::new() };
            bytes = bytes.get(end + 1..).unwrap_or_default();
            self.skipped -= 1;
        }
        let mut out = Vec::with_capacity(bytes.len() + 2);
        while self.left > 0 && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.take(line, &mut out);
            bytes = rest.get(1..).unwrap_or_default();
            if end.is_some() {
                self.end_line(&mut out);
            }
        }
        out
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if line.is_empty() {
            return;
        }
        self.begin(out);
        if std::mem::take(&mut self.carriage) {
            out.push(b'\r');
        }
        let (line, carriage) = match line.split_last() {
            Some((b'\r', before)) => (before, true),
            _ => (line, false),
        };
        out.extend_from_slice(line);
        self.carriage = carriage;
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.carriage = false;
        self.left -= 1;
        self.feed = true;
    }

    /// Something of the next line is there, so the one before it is followed by a line feed.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.feed) {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, first: u64, count: u64) -> String {
        let whole = |step: usize| {
            let mut lines = Lines::new(first, count);
            let parts: Vec<Vec<u8>> = text.as_bytes().chunks(step).map(|piece| lines.push(piece)).collect();
            String::from_utf8(parts.concat()).expect("text")
        };
        let (small, large) = (whole(1), whole(1000));
        assert_eq!(small, large, "the pieces do not matter");
        large
    }

    #[test]
    fn lines_are_joined_without_an_end() {
        assert_eq!(cut("a\nb\nc\n", 1, u64::MAX), "a\nb\nc");
        assert_eq!(cut("a\nb\nc", 2, 1), "b");
        assert_eq!(cut("a\r\nb\rb\r\nc", 1, 2), "a\nb\rb");
        assert_eq!(cut("a\n\n\nd", 2, 2), "\n");
        assert_eq!(cut("a\n\n", 1, 5), "a\n");
        assert_eq!(cut("a\nb", 3, 5), "");
        assert_eq!(cut("last\r", 1, 1), "last");
        assert_eq!(cut("", 1, 1), "");
    }
}
