//! Waiting for a state, with a deadline, and with the last status in what is said when it passes.

use std::thread;
use std::time::{Duration, Instant};

/// Far more than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(2);

/// How many times slower than usual the machine is, in `BIVOUAC_TEST_SLOWNESS`: one that is made of software is.
pub fn slowness() -> u32 {
    std::env::var("BIVOUAC_TEST_SLOWNESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// Asks until it gets an answer. `ask` says what it saw instead.
pub fn until<T>(what: &str, ask: impl FnMut() -> Result<T, String>) -> T {
    until_within(PATIENCE, what, ask)
}

/// As [`until`], with a deadline of its own.
pub fn until_within<T>(patience: Duration, what: &str, ask: impl FnMut() -> Result<T, String>) -> T {
    tried(patience, ask).unwrap_or_else(|seen| panic!("not {what} after {patience:?}; last seen: {seen}"))
}

/// The answer, or what was seen last when the deadline passed.
pub fn tried<T>(patience: Duration, mut ask: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let (start, patience) = (Instant::now(), patience * slowness());
    loop {
        match ask() {
            Err(_) if start.elapsed() < patience => thread::sleep(STEP),
            answer => return answer,
        }
    }
}
