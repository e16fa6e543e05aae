//! The two clocks that the project reads (`clock_gettime(2)`).

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_BOOTTIME`: counts suspend, never jumps when the wall clock is set.
#[must_use]
pub fn boot_nanos() -> u64 {
    u64::try_from(nanos(ClockId::CLOCK_BOOTTIME)).unwrap_or(0)
}

/// Nanoseconds since the Unix epoch (`CLOCK_REALTIME`).
#[must_use]
pub fn unix_nanos() -> i64 {
    nanos(ClockId::CLOCK_REALTIME)
}

fn nanos(clock: ClockId) -> i64 {
    // The only error of clock_gettime here is a clock that the kernel lacks; both are older than any kernel we run on.
    clock_gettime(clock).map_or(0, |time| time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec()))
}
