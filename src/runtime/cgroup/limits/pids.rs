//! Processes and threads.

use std::path::Path;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::pid::PidController;

use super::{CgroupError, check, refused};

pub fn set(dir: &Path, unified: bool, count: i64) -> Result<(), CgroupError> {
    let pids = PidController::new(dir.to_owned(), dir.to_owned(), unified);
    pids.set_pid_max(MaxValue::Value(count)).map_err(refused("pids.max", dir))?;
    let kept = pids.get_pid_max().map_err(refused("pids.max", dir))?;
    check("pids.max", dir, kept == MaxValue::Value(count), count, &format!("{kept:?}"))
}
