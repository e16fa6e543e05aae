//! When to ask a registry again, and after how long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};

use super::Patience;

/// Whether the same question may have a better answer soon.
pub fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The pause after the attempt of this number (from 0): what the registry asks for, else twice as long each time. `None` when it
/// asks for more than anybody waits.
pub fn pause(patience: &Patience, attempt: u32, headers: Option<&HeaderMap>) -> Option<Duration> {
    match headers.and_then(asked_for) {
        Some(asked) => (asked <= patience.longest_pause).then_some(asked.max(patience.first_pause)),
        None => {
            let doubled = patience.first_pause.saturating_mul(1 << attempt.min(10));
            Some(spread(doubled.min(patience.longest_pause)))
        }
    }
}

/// `Retry-After`, in seconds or as a date.
fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    Some((until.to_utc() - Utc::now()).to_std().unwrap_or_default())
}

/// Up to a fifth less, so that many who were sent away together do not come back together.
fn spread(pause: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    pause.mul_f64(1.0 - 0.2 * f64::from(nanos % 1000) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_registry_asks_for_is_kept_within_reason() {
        let patience = Patience::default();
        let asks = |text: &str| HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]);
        assert_eq!(pause(&patience, 0, Some(&asks("7"))), Some(Duration::from_secs(7)));
        assert_eq!(pause(&patience, 0, Some(&asks("3600"))), None);
        assert_eq!(pause(&patience, 0, Some(&asks("Wed, 21 Oct 2015 07:28:00 GMT"))), Some(patience.first_pause));
        let third = pause(&patience, 2, Some(&asks("soon"))).expect("a pause");
        assert!(third > Duration::from_millis(1500) && third <= Duration::from_secs(2), "{third:?}");
    }
}
