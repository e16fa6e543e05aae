//! How often a sandbox may ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::gate::Asker;

/// How many questions are let through.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Over a longer time.
    a_second: f64,
    /// After a time of silence.
    at_once: f64,
}

/// Of a sandbox under a policy: what programs look up, and little for one that would say something by asking.
pub const POLICED: Pace = Pace { a_second: 20.0, at_once: 200.0 };
/// Of everybody else.
pub const OPEN: Pace = Pace { a_second: 100.0, at_once: 500.0 };

/// Askers that are remembered; those who could ask again anyway are forgotten first.
const MOST: usize = 16_384;

#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<Asker, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
    pace: Pace,
}

impl Bucket {
    fn filled(self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + since * self.pace.a_second).min(self.pace.at_once)
    }
}

impl Rates {
    /// Whether this asker may ask now; counts the question. The pace may be another one each time.
    pub fn allows(&self, asker: Asker, pace: Pace, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| bucket.filled(now) < bucket.pace.at_once);
        }
        let bucket = buckets.entry(asker).or_insert(Bucket { left: pace.at_once, at: now, pace });
        bucket.pace = pace;
        let left = bucket.filled(now);
        let allowed = left >= 1.0;
        *bucket = Bucket { left: if allowed { left - 1.0 } else { left }, at: now, pace };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn allowed(rates: &Rates, asker: Asker, pace: Pace, now: Instant) -> usize {
        (0..1000).filter(|_| rates.allows(asker, pace, now)).count()
    }

    #[test]
    fn one_who_asks_too_often_waits_and_nobody_else_does() {
        let (rates, start) = (Rates::default(), Instant::now());
        let (busy, calm) = (Asker::Sandbox(2), Asker::Other([10, 0, 0, 3].into()));
        assert_eq!(allowed(&rates, busy, OPEN, start), 500);
        assert!(rates.allows(calm, OPEN, start));
        let later = start + Duration::from_secs(1);
        assert_eq!(allowed(&rates, busy, OPEN, later), 100);
    }

    #[test]
    fn one_who_comes_under_a_policy_waits_longer() {
        let (rates, start) = (Rates::default(), Instant::now());
        let asker = Asker::Sandbox(2);
        assert!(rates.allows(asker, OPEN, start));
        assert_eq!(allowed(&rates, asker, POLICED, start), 200);
        let later = start + Duration::from_secs(1);
        assert_eq!(allowed(&rates, asker, POLICED, later), 20);
        assert_eq!(allowed(&rates, asker, OPEN, later + Duration::from_secs(1)), 100);
    }
}
