//! Memory, and memory with swap equal to it, so that none of it is swap.

use std::fs;
use std::path::Path;

use cgroups_rs::fs::memory::MemController;

use super::{CgroupError, check, refused};
use crate::runtime::cgroup::layout::{Controller, Layout};

/// The kernel counts in pages and rounds down; no architecture has larger ones.
const LARGEST_PAGE: i64 = 65_536;
/// Version 1 says "no limit" with a number of this size.
const NO_LIMIT: i64 = 1 << 60;

pub fn set(dir: &Path, unified: bool, bytes: i64) -> Result<(), CgroupError> {
    let memory = MemController::new(dir.to_owned(), dir.to_owned(), unified);
    memory.set_limit(bytes).map_err(refused("the memory limit", dir))?;
    check_kept(dir, if unified { "memory.max" } else { "memory.limit_in_bytes" }, bytes)?;
    let (swap_file, swap) = if unified { ("memory.swap.max", 0) } else { ("memory.memsw.limit_in_bytes", bytes) };
    // Kernels without swap accounting have no such file, and a host without swap needs none.
    if dir.join(swap_file).exists() {
        memory.set_memswap_limit(swap).map_err(refused("the swap limit", dir))?;
        check_kept(dir, swap_file, swap)?;
    }
    Ok(())
}

fn check_kept(dir: &Path, file: &'static str, wanted: i64) -> Result<(), CgroupError> {
    let path = dir.join(file);
    let kept = fs::read_to_string(&path).map_err(CgroupError::io("read", &path))?;
    check(file, dir, is_kept(kept.trim(), wanted), wanted, kept.trim())
}

/// What is larger than the kernel can count is no limit.
fn is_kept(kept: &str, wanted: i64) -> bool {
    match kept.parse::<i64>() {
        Ok(kept) => (0..LARGEST_PAGE).contains(&(wanted - kept)) || (kept > NO_LIMIT && wanted > NO_LIMIT),
        Err(_) => kept == "max" && wanted > NO_LIMIT,
    }
}

/// The kernel's count of out-of-memory kills in the workload.
#[must_use]
pub fn oom_kills(layout: &Layout, below: &Path) -> u64 {
    let Some((dir, unified)) = layout.workload_of(Controller::Memory, below) else { return 0 };
    let file = dir.join(if unified { "memory.events" } else { "memory.oom_control" });
    let text = fs::read_to_string(file).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or(0)
}

/// How many bytes the workload may use, if that is limited.
#[must_use]
pub fn limit(layout: &Layout, below: &Path) -> Option<u64> {
    let (dir, unified) = layout.workload_of(Controller::Memory, below)?;
    let file = dir.join(if unified { "memory.max" } else { "memory.limit_in_bytes" });
    let bytes: i64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    u64::try_from(bytes).ok().filter(|_| bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_less_than_a_page_may_be_lost() {
        for (kept, wanted, right) in [
            ("4096", 4097, true),
            ("4096", 4096, true),
            ("8192", 4096, false),
            ("0", 1 << 20, false),
            ("max", 1 << 20, false),
            ("max", i64::MAX, true),
            ("9223372036854771712", 1 << 62, true),
            ("9223372036854771712", 1 << 30, false),
            ("0", 0, true),
            ("", 0, false),
        ] {
            assert_eq!(is_kept(kept, wanted), right, "{kept} of {wanted}");
        }
    }
}
