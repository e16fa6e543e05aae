//! The version 2 freezer: write, wait for the kernel's word, and only then believe it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use super::CgroupError;

/// Freezing takes 10 to 300 microseconds; a process in an uninterruptible call can hold it up.
const DEADLINE: Duration = Duration::from_secs(5);

/// The kernel tells of changes to `cgroup.events` at most every 10 ms, so the first moments are spent looking.
const LOOK_FOR: Duration = Duration::from_millis(2);

pub fn set(cgroup: &Path, frozen: bool) -> Result<(), CgroupError> {
    let file = cgroup.join("cgroup.freeze");
    fs::write(&file, if frozen { "1" } else { "0" }).map_err(CgroupError::io("write", &file))?;
    wait(cgroup, frozen)
}

pub fn is_frozen(cgroup: &Path) -> Result<bool, CgroupError> {
    let file = cgroup.join("cgroup.events");
    let events = fs::read_to_string(&file).map_err(CgroupError::io("read", &file))?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}

fn wait(cgroup: &Path, frozen: bool) -> Result<(), CgroupError> {
    let start = Instant::now();
    while is_frozen(cgroup)? != frozen {
        let waited = start.elapsed();
        if waited > DEADLINE {
            let wanted = if frozen { "frozen" } else { "thawed" };
            return Err(CgroupError::Deadline { path: cgroup.to_owned(), wanted, millis: waited.as_millis() });
        }
        if waited < LOOK_FOR {
            thread::yield_now();
        } else {
            await_event(cgroup)?;
        }
    }
    Ok(())
}

/// Returns when `cgroup.events` may have changed, after 20 ms at the latest.
fn await_event(cgroup: &Path) -> Result<(), CgroupError> {
    let path = cgroup.join("cgroup.events");
    let file = fs::File::open(&path).map_err(CgroupError::io("open", &path))?;
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
    // A failed poll only means that the caller looks again at once.
    let _ = poll(&mut fds, PollTimeout::from(20u8));
    Ok(())
}
