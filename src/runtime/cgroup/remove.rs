//! Removing cgroups whose processes were killed.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::CgroupError;

/// Killed processes leave their cgroup when they are reaped, which takes microseconds for each; a process stuck in the
/// kernel holds it longer, and the caller will come back for it.
const DEADLINE: Duration = Duration::from_secs(2);

/// Removes a directory, waiting while processes are still leaving it; one that is not there is removed.
pub fn remove_dir(path: &Path) -> Result<(), CgroupError> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < DEADLINE => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            Err(error) => return Err(CgroupError::io("remove", path)(error)),
        }
    }
}
