//! CPU time: how much of it, and whose turn it is when there is too little for all.

use std::path::Path;
use std::{fs, io};

use cgroups_rs::fs::cpu::CpuController;

use super::{CgroupError, check, refused};

/// The period that quotas are given in, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

pub fn set_quota(dir: &Path, unified: bool, millis: i64) -> Result<(), CgroupError> {
    // The kernel refuses quotas below one millisecond.
    let quota = (i64::try_from(PERIOD).unwrap_or(i64::MAX).saturating_mul(millis) / 1000).max(1000);
    let cpu = CpuController::new(dir.to_owned(), dir.to_owned(), unified);
    cpu.set_cfs_quota_and_period(Some(quota), Some(PERIOD)).map_err(refused("the CPU quota", dir))?;
    let kept = cpu.cfs_quota().map_err(refused("the CPU quota", dir))?;
    check("the CPU quota", dir, kept == quota, quota, &kept.to_string())
}

/// Takes the quota away. That there is none, or no such cgroup any more, is as good.
pub fn lift_quota(dir: &Path, unified: bool) -> Result<(), CgroupError> {
    let (name, none) = if unified { ("cpu.max", "max") } else { ("cpu.cfs_quota_us", "-1") };
    let file = dir.join(name);
    match fs::write(&file, none) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CgroupError::io("write", &file)(error)),
        _ => Ok(()),
    }
}

/// Version 1 calls 1024 what version 2 calls 100, and takes no less than 2.
pub fn set_weight(dir: &Path, unified: bool, weight: i64) -> Result<(), CgroupError> {
    let value = if unified { weight } else { (weight * 1024 / 100).max(2) };
    let cpu = CpuController::new(dir.to_owned(), dir.to_owned(), unified);
    cpu.set_shares(value.unsigned_abs()).map_err(refused("the CPU weight", dir))?;
    let kept = cpu.shares().map_err(refused("the CPU weight", dir))?;
    check("the CPU weight", dir, kept == value.unsigned_abs(), value, &kept.to_string())
}
