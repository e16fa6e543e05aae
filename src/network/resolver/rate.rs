//! How often a sandbox may ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::gate::Asker;

/// Questions a second, over a longer time.
const A_SECOND: f64 = 100.0;
/// At once, after a time of silence.
const AT_ONCE: f64 = 500.0;
/// Askers that are remembered; those who could ask again anyway are forgotten first.
const MOST: usize = 16_384;

#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<Asker, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * A_SECOND).min(AT_ONCE)
    }
}

impl Rates {
    /// Whether this asker may ask now; counts the question.
    pub fn allows(&self, asker: Asker, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| bucket.filled(now) < AT_ONCE);
        }
        let bucket = buckets.entry(asker).or_insert(Bucket { left: AT_ONCE, at: now });
        let left = bucket.filled(now);
        let allowed = left >= 1.0;
        *bucket = Bucket { left: if allowed { left - 1.0 } else { left }, at: now };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_who_asks_too_often_waits_and_nobody_else_does() {
        let (rates, start) = (Rates::default(), Instant::now());
        let (busy, calm) = (Asker::Sandbox(2), Asker::Other([10, 0, 0, 3].into()));
        let allowed = (0..1000).filter(|_| rates.allows(busy, start)).count();
        assert_eq!(allowed, 500);
        assert!(rates.allows(calm, start));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| rates.allows(busy, later)).count(), 100);
    }
}
