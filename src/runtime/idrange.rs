//! Host id ranges: each sandbox has 65,536 of its own, and the next id after them for its PID 1.

use std::collections::HashSet;
use std::fs;
use std::sync::{Mutex, PoisonError};

/// Distance between two ranges: the range itself, and as much again that is mapped nowhere.
const STRIDE: u32 = 1 << 17;
/// Above every range that distributions give to users, subordinate ids and dynamic services.
const FIRST: u32 = 0x4000_0000;
/// Ids from 2^31 on confuse programs that keep them in a signed integer.
const END: u32 = 0x7FFE_0000;

/// The host id of the PID 1 of the sandbox with this base: mapped in no namespace, owned by no file.
#[must_use]
pub fn supervisor_id(base: u32) -> u32 {
    base.saturating_add(1 << 16)
}

/// Hands out ranges; the same one comes again only after all others, so that what a late kernel cleanup still owns is
/// nobody else's.
#[derive(Debug)]
pub struct IdRanges {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    used: HashSet<u32>,
    next: u32,
}

impl IdRanges {
    /// All ranges are free but those in which the host has users or subordinate ids of its own.
    #[must_use]
    pub fn of_host() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let users = [read("/etc/passwd"), read("/etc/group")].join("\n");
        let subordinate = [read("/etc/subuid"), read("/etc/subgid")].join("\n");
        Self { state: Mutex::new(State { used: taken(&users, &subordinate), next: FIRST }) }
    }

    /// A free range, or `None` when 8,191 sandboxes live already.
    pub fn reserve(&self) -> Option<u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = (END - FIRST) / STRIDE;
        for _ in 0..count {
            let base = state.next;
            state.next = if base + STRIDE >= END { FIRST } else { base + STRIDE };
            if state.used.insert(base) {
                return Some(base);
            }
        }
        None
    }

    /// Marks a recorded range as used.
    pub fn claim(&self, base: u32) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).used.insert(base);
    }

    pub fn release(&self, base: u32) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).used.remove(&base);
    }
}

/// The ranges that ids of the host fall into: the third field of `passwd(5)` and `group(5)`, fields two and three of
/// `subuid(5)`.
fn taken(users: &str, subordinate: &str) -> HashSet<u32> {
    let field = |line: &str, at: usize| line.split(':').nth(at).and_then(|text| text.trim().parse::<u64>().ok());
    let single = users.lines().filter_map(|line| field(line, 2).map(|id| (id, 1)));
    let ranges = subordinate.lines().filter_map(|line| Some((field(line, 1)?, field(line, 2)?)));
    let blocks: Vec<(u64, u64)> = single.chain(ranges).collect();
    let overlaps = |base: &u32| {
        let (start, end) = (u64::from(*base), u64::from(*base) + u64::from(STRIDE));
        blocks.iter().any(|(first, count)| *first < end && first.saturating_add(*count) > start)
    };
    (FIRST..END).step_by(STRIDE as usize).filter(overlaps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_disjoint_and_come_back_last() {
        let ranges = IdRanges { state: Mutex::new(State { used: HashSet::new(), next: FIRST }) };
        let (first, second) = (ranges.reserve().expect("one"), ranges.reserve().expect("another"));
        assert!(second >= first + STRIDE && supervisor_id(first) < second && supervisor_id(first) >= first + 65_536);
        ranges.release(first);
        assert_ne!(ranges.reserve(), Some(first));
        ranges.claim(second + 2 * STRIDE);
        assert_eq!(ranges.reserve(), Some(second + 3 * STRIDE));
    }

    #[test]
    fn all_used_is_said_and_host_ids_are_left_alone() {
        let used = taken("big:x:1073741824:0::/:\n", "user:1073872896:65536\n");
        assert_eq!(used, HashSet::from([FIRST, FIRST + STRIDE]));
        let ranges = IdRanges { state: Mutex::new(State { used, next: FIRST }) };
        assert_eq!(ranges.reserve(), Some(FIRST + 2 * STRIDE));
        while ranges.reserve().is_some() {}
        assert_eq!(ranges.reserve(), None);
    }
}
