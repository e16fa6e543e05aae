//! What a later daemon must find again before it believes that a process is a sandbox's PID 1.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process id alone comes again within seconds on a busy host; with its start time it does not, and the nonce is
/// known to the real one only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks since boot.
    pub start_ticks: u64,
    pub nonce: String,
    /// Digest of the image whose layers are the sandbox's root: they are held for it again.
    pub image: String,
}

impl Proof {
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// The start time of a process, or `None` when it is gone.
pub fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses; the fields are counted from the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_time_and_pid_0_has_none() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert!(start_ticks(own).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_ticks(0), None);
    }
}
