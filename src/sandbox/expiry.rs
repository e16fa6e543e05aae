//! When a sandbox's time is up, on a clock that nobody sets.
//!
//! The boot clock decides: it does not jump when the wall clock is set, and counts on while the host sleeps. The
//! wall clock is what clients speak and see; it decides only after a reboot, when the boot clock began anew.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Host;
use crate::store::{Deadline, Expiry};

/// The end of year 9999, the last that RFC 3339 can write: what is later is shown as this.
const LATEST_UNIX_MICROS: i64 = 253_402_300_799_999_999;
/// A timer of the runtime does not count while the host sleeps, so nobody sleeps longer than this without a look.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// Two readings of the clocks are a moment apart, and NTP slews both alike: more than this is a step.
const STEP_MICROS: u64 = 2_000_000;

/// Both clocks, read once for each decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub boot_nanos: u64,
    pub unix_nanos: i64,
}

impl Now {
    pub fn read(host: &dyn Host) -> Self {
        Self { boot_nanos: host.boot_nanos(), unix_nanos: host.unix_nanos() }
    }

    pub fn unix_micros(self) -> i64 {
        self.unix_nanos.div_euclid(1000)
    }
}

/// `after` from now. What no clock can hold is the latest that it can.
pub fn after(now: Now, after: Duration) -> Deadline {
    let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
    Deadline {
        boot_nanos: now.boot_nanos.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)),
        unix_micros: now.unix_micros().saturating_add(micros).min(LATEST_UNIX_MICROS),
    }
}

/// The moment that the wall clock, as it goes now, will show as `unix_micros`. One that has passed is due at once.
pub fn at(now: Now, unix_micros: i64) -> Deadline {
    let unix_micros = unix_micros.min(LATEST_UNIX_MICROS);
    let ahead = unix_micros.saturating_sub(now.unix_micros());
    let nanos = u64::try_from(ahead).unwrap_or(0).saturating_mul(1000);
    Deadline { boot_nanos: now.boot_nanos.saturating_add(nanos), unix_micros }
}

/// The same wall time on the boot clock of another boot.
pub fn rebase(deadline: Deadline, now: Now) -> Deadline {
    at(now, deadline.unix_micros)
}

pub fn is_due(deadline: Deadline, now: Now) -> bool {
    deadline.boot_nanos <= now.boot_nanos
}

/// How long to sleep before looking at the clock again.
pub fn nap(deadline: Deadline, now: Now) -> Duration {
    Duration::from_nanos(deadline.boot_nanos.saturating_sub(now.boot_nanos)).min(LONGEST_NAP)
}

/// What the wall clock will show at the deadline: what was promised, unless the clock was set since.
pub fn wall_micros(deadline: Deadline, now: Now) -> i64 {
    let ahead = deadline.boot_nanos.saturating_sub(now.boot_nanos) / 1000;
    let today = now.unix_micros().saturating_add_unsigned(ahead).min(LATEST_UNIX_MICROS);
    if today.abs_diff(deadline.unix_micros) < STEP_MICROS { deadline.unix_micros } else { today }
}

/// What is shown as `expiresAt`.
pub fn shown(expiry: Expiry) -> DateTime<Utc> {
    instant(expiry.deadline.unix_micros)
}

/// An instant from microseconds of the Unix epoch; one that chrono cannot hold is the latest or the earliest it can.
pub fn instant(unix_micros: i64) -> DateTime<Utc> {
    let limit = if unix_micros < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(unix_micros).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR_NANOS: i64 = 365 * 86_400 * 1_000_000_000;
    const START: Now = Now { boot_nanos: 5_000_000_000, unix_nanos: 1_790_000_000_123_456_789 };

    /// Some time later, on a wall clock that was set meanwhile.
    fn later(by: Duration, step_nanos: i64) -> Now {
        let by = u64::try_from(by.as_nanos()).unwrap();
        Now {
            boot_nanos: START.boot_nanos + by,
            unix_nanos: START.unix_nanos + i64::try_from(by).unwrap() + step_nanos,
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_neither_kills_early_nor_keeps_for_ever() {
        let deadline = after(START, HOUR);
        for step in [-YEAR_NANOS, 0, YEAR_NANOS] {
            assert!(!is_due(deadline, later(HOUR - Duration::from_nanos(1), step)), "{step}");
            assert!(is_due(deadline, later(HOUR, step)), "{step}");
        }
    }

    #[test]
    fn what_is_promised_is_shown_until_the_clock_is_set() {
        let deadline = after(START, HOUR);
        assert_eq!(wall_micros(deadline, later(HOUR / 2, 0)), deadline.unix_micros);
        assert_eq!(
            wall_micros(deadline, later(HOUR / 2, 900_000_000)),
            deadline.unix_micros,
            "a slow clock was slewed"
        );
        let set = wall_micros(deadline, later(HOUR / 2, YEAR_NANOS));
        assert_eq!(set, deadline.unix_micros + YEAR_NANOS / 1000);
    }

    #[test]
    fn a_wall_time_becomes_a_moment_on_the_boot_clock() {
        let wall = START.unix_micros() + 60_000_000;
        assert_eq!(at(START, wall).boot_nanos, START.boot_nanos + 60_000_000_000);
        assert!(is_due(at(START, START.unix_micros() - 1), START), "one in the past is due at once");
    }

    #[test]
    fn a_reboot_keeps_the_wall_time() {
        let deadline = after(START, HOUR);
        let reborn = Now { boot_nanos: 1, ..later(HOUR / 2, 0) };
        let rebased = rebase(deadline, reborn);
        assert_eq!(rebased.unix_micros, deadline.unix_micros);
        assert!(rebased.boot_nanos.abs_diff(1 + 1_800_000_000_000) < 1000);
    }

    #[test]
    fn absurd_times_saturate() {
        for absurd in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)] {
            let deadline = after(START, absurd);
            assert_eq!(deadline.unix_micros, LATEST_UNIX_MICROS);
            assert!(!is_due(deadline, later(Duration::from_secs(3_000_000_000), 0)), "it lives for a century");
            assert_eq!(instant(deadline.unix_micros).to_rfc3339(), "9999-12-31T23:59:59.999999+00:00");
        }
        assert_eq!(at(START, i64::MAX).unix_micros, LATEST_UNIX_MICROS);
        assert!(is_due(at(START, i64::MIN), START));
        assert_eq!(instant(i64::MAX), DateTime::<Utc>::MAX_UTC);
    }

    #[test]
    fn nobody_naps_longer_than_half_a_minute() {
        assert_eq!(nap(after(START, HOUR), START), LONGEST_NAP);
        assert_eq!(nap(after(START, Duration::from_secs(3)), START), Duration::from_secs(3));
        assert_eq!(nap(after(START, Duration::ZERO), START), Duration::ZERO);
    }
}
