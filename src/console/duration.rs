//! Durations as people type and read them: `90s`, `30m`, `1h30m`, `none`; `5 minutes`.

use std::time::Duration;

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a duration: {problem}")]
pub struct InvalidDuration {
    pub text: String,
    pub problem: &'static str,
}

/// The units in the order in which they may follow each other.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Longer than any life that makes sense, and far from the end of every time stamp: 100 years.
const LONGEST: u64 = 100 * 365 * 86_400;

/// Parses `90s`, `30m`, `2h`, `1h30m`, `1d`: whole numbers, each with its unit, larger units first.
///
/// # Errors
/// When the text is not such a duration, is zero, or is longer than 100 years.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    seconds(text).map(Duration::from_secs).map_err(|problem| InvalidDuration { text: text.to_owned(), problem })
}

fn seconds(text: &str) -> Result<u64, &'static str> {
    const SHAPE: &str = "write it as 90s, 30m, 2h or 1h30m";
    let mut rest = text;
    let mut total: u64 = 0;
    for (unit, factor) in UNITS {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SHAPE);
        }
        let part: u64 = number.parse().map_err(|_| "longer than 100 years")?;
        total = part.checked_mul(factor).and_then(|part| total.checked_add(part)).ok_or("longer than 100 years")?;
        rest = after;
    }
    match total {
        _ if !rest.is_empty() || text.is_empty() => Err(SHAPE),
        0 => Err("it must be longer than zero"),
        total if total > LONGEST => Err("longer than 100 years"),
        total => Ok(total),
    }
}

/// How long a sandbox may live: a duration, or `none` for "until it is removed".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Limited(Duration),
    Unlimited,
}

impl Lifetime {
    /// For clap.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(text: &str) -> Result<Self, InvalidDuration> {
        if text == "none" { Ok(Self::Unlimited) } else { parse(text).map(Self::Limited) }
    }

    /// The API's `timeout`: whole seconds, or `None` for no limit.
    #[must_use]
    pub fn seconds(self) -> Option<u64> {
        match self {
            Self::Limited(duration) => Some(duration.as_secs()),
            Self::Unlimited => None,
        }
    }
}

/// A span in its largest unit, for a column of a table: `12 seconds`, `5 minutes`, `3 hours`, `2 days`.
#[must_use]
pub fn roughly(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1d", 86_400), ("1h0m5s", 3605)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(Lifetime::parse("none").map(Lifetime::seconds), Ok(None));
        assert_eq!(Lifetime::parse("60s").map(Lifetime::seconds), Ok(Some(60)));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for bad in
            ["", "90", "s", "m30", "30m1h", "1m1m", "-5m", "1.5h", "0s", "5 m", "9999999d", "99999999999999999999s"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_shown_in_their_largest_unit() {
        for (seconds, shown) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(roughly(Duration::from_secs(seconds)), shown);
        }
    }
}
