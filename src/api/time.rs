//! Points in time as the API writes and reads them.

use chrono::{DateTime, NaiveDateTime, Timelike, Utc};

/// Nothing may expire after this instant (the start of 2262, UTC): nanoseconds of the epoch still fit into 64 bits.
pub const LATEST_EXPIRY_SECONDS: i64 = 9_214_646_400;

/// RFC 3339 in UTC with microseconds, or with no fraction when it is zero: `2026-01-02T03:04:05.123456Z`.
#[must_use]
pub fn write(time: DateTime<Utc>) -> String {
    let form = if time.nanosecond() / 1000 == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
    time.format(form).to_string()
}

/// As [`write()`], of nanoseconds of the Unix epoch.
#[must_use]
pub fn write_nanos(nanos: i64) -> String {
    write(DateTime::from_timestamp_nanos(nanos))
}

/// Reads RFC 3339 with `Z` or any offset; a time without one is UTC. `None` when it is neither.
#[must_use]
pub fn read(text: &str) -> Option<DateTime<Utc>> {
    let with_offset = DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc));
    let naive = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|time| time.and_utc());
    // A leap second would be written back as a time that does not exist.
    with_offset.or_else(naive).filter(|time| time.nanosecond() < 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_with_microseconds_or_none() {
        for (nanos, text) in [
            (1_767_323_045_123_456_789, "2026-01-02T03:04:05.123456Z"),
            (1_767_323_045_000_000_000, "2026-01-02T03:04:05Z"),
            (1_767_323_045_000_000_999, "2026-01-02T03:04:05Z"),
            (1_767_323_045_100_000_000, "2026-01-02T03:04:05.100000Z"),
        ] {
            assert_eq!(write_nanos(nanos), text);
        }
    }

    #[test]
    fn read_in_every_form_that_clients_send() {
        for (text, seconds) in [
            ("2026-11-23T17:17:00.391732+00:00", "2026-11-23T17:17:00.391732Z"),
            ("2026-11-23T17:17:00Z", "2026-11-23T17:17:00Z"),
            ("2026-11-23T18:17:00+01:00", "2026-11-23T17:17:00Z"),
            ("2026-11-23T17:17:00", "2026-11-23T17:17:00Z"),
            ("2026-11-23T17:17:00.5", "2026-11-23T17:17:00.500000Z"),
            ("2026-11-23t17:17:00z", "2026-11-23T17:17:00Z"),
            ("2026-11-23T17:17:00.123456789Z", "2026-11-23T17:17:00.123456Z"),
        ] {
            assert_eq!(read(text).map(write).as_deref(), Some(seconds), "{text}");
        }
        for bad in ["", "now", "2026-13-01T00:00:00Z", "2026-11-23", "17:17", "1732382220", "2026-11-23T17:17:60Z"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_latest_expiry_is_what_its_comment_says() {
        assert_eq!(read("2262-01-01T00:00:00Z").map(|time| time.timestamp()), Some(LATEST_EXPIRY_SECONDS));
    }
}
