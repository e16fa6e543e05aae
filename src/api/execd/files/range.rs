//! The `Range` header (RFC 9110 section 14).

/// What part of a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    /// The first byte, and how many: at least one.
    Part(u64, u64),
    /// Nothing that there is, or nothing that can be understood.
    Unsatisfiable,
}

/// Of several ranges, the first that there is.
pub fn parse(header: &str, size: u64) -> Wanted {
    // Other units are for others to understand.
    let Some(ranges) = header.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    for range in ranges.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        match one(range, size) {
            None => return Wanted::Unsatisfiable,
            Some((_, 0)) => {}
            Some((first, length)) => return Wanted::Part(first, length),
        }
    }
    Wanted::Unsatisfiable
}

/// `None` for what is no range; a length of zero for one that the file does not have.
fn one(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some((size - length, length));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    let end = last.saturating_add(1).min(size);
    Some((first, end.saturating_sub(first)))
}

fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_range_that_there_is_counts() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (header, wanted) in [
            ("bytes=0-9", Part(0, 10)),
            ("bytes=90-", Part(90, 10)),
            ("bytes=-5", Part(95, 5)),
            ("bytes=-500", Part(0, 100)),
            ("bytes=50-5000", Part(50, 50)),
            ("bytes=100-200, 3-3", Part(3, 1)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=9-5", Unsatisfiable),
            ("bytes=a-b", Unsatisfiable),
            ("bytes=", Unsatisfiable),
            ("bytes=0-18446744073709551615", Part(0, 100)),
            ("bytes=0-99999999999999999999", Unsatisfiable),
            ("lines=1-2", Whole),
        ] {
            assert_eq!(parse(header, 100), wanted, "{header}");
        }
        assert_eq!(parse("bytes=-5", 0), Unsatisfiable);
    }
}
