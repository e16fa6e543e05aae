//! Bytes a second from and to a block device.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cgroups_rs::fs::blkio::BlkIoController;
use nix::sys::stat::{major, minor};

use super::{CgroupError, refused};
use crate::model::Limits;

/// A whole block device: the kernel takes no partition for this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    major: u64,
    minor: u64,
}

impl Device {
    /// The device that a directory is on; none when that is no single block device (tmpfs, overlay, btrfs).
    #[must_use]
    pub fn of(dir: &Path) -> Option<Self> {
        let number = fs::metadata(dir).ok()?.dev();
        let named = fs::canonicalize(format!("/sys/dev/block/{}:{}", major(number), minor(number))).ok()?;
        let whole = if named.join("partition").exists() { named.parent()? } else { &named };
        let text = fs::read_to_string(whole.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// What cannot be enforced, with the version of the hierarchy that has the controller.
pub fn missing(unified: Option<bool>, device: Option<Device>, limits: &Limits) -> Option<String> {
    if limits.io_read.is_none() && limits.io_write.is_none() {
        return None;
    }
    match (unified, device) {
        (None, _) => Some("io limits: no cgroup has their controller".to_owned()),
        (_, None) => Some("io limits: the state directory is not on a block device of its own".to_owned()),
        (Some(false), Some(_)) if limits.io_write.is_some() => {
            Some("io-write limit but for direct writes: cgroup v1 does not know whose the others are".to_owned())
        }
        _ => None,
    }
}

pub fn set(dir: &Path, unified: bool, device: Device, limits: &Limits) -> Result<(), CgroupError> {
    let blkio = BlkIoController::new(dir.to_owned(), dir.to_owned(), unified);
    let Device { major, minor } = device;
    if let Some(rate) = limits.io_read {
        blkio.throttle_read_bps_for_device(major, minor, rate).map_err(refused("the io-read limit", dir))?;
        check(dir, if unified { "io.max" } else { "blkio.throttle.read_bps_device" }, device, "rbps=", rate)?;
    }
    if let Some(rate) = limits.io_write {
        blkio.throttle_write_bps_for_device(major, minor, rate).map_err(refused("the io-write limit", dir))?;
        check(dir, if unified { "io.max" } else { "blkio.throttle.write_bps_device" }, device, "wbps=", rate)?;
    }
    Ok(())
}

fn check(dir: &Path, file: &'static str, device: Device, word: &str, rate: u64) -> Result<(), CgroupError> {
    let path = dir.join(file);
    let kept = fs::read_to_string(&path).map_err(CgroupError::io("read", &path))?;
    super::check(file, dir, says(&kept, device, word, rate), i64::try_from(rate).unwrap_or(i64::MAX), kept.trim())
}

/// `8:0 4096` of version 1, `8:0 rbps=4096 wbps=max riops=max wiops=max` of version 2.
fn says(text: &str, device: Device, word: &str, rate: u64) -> bool {
    let start = format!("{}:{} ", device.major, device.minor);
    let line = text.lines().find_map(|line| line.strip_prefix(start.as_str()));
    line.is_some_and(|line| line.split(' ').any(|part| part.strip_prefix(word).unwrap_or(part).parse() == Ok(rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Device = Device { major: 8, minor: 0 };

    #[test]
    fn both_versions_are_read_back() {
        assert!(says("8:16 1\n8:0 4096\n", DISK, "rbps=", 4096));
        assert!(says("8:0 rbps=4096 wbps=max riops=max wiops=max\n", DISK, "rbps=", 4096));
        assert!(!says("8:0 rbps=4096 wbps=max riops=max wiops=max\n", DISK, "wbps=", 4096));
        assert!(!says("8:01 4096\n", DISK, "rbps=", 4096) && !says("", DISK, "rbps=", 4096));
    }

    #[test]
    fn what_is_not_asked_is_not_missed() {
        let read = Limits { io_read: Some(1), ..Limits::default() };
        let write = Limits { io_write: Some(1), ..Limits::default() };
        assert_eq!(missing(None, None, &Limits::default()), None);
        assert_eq!(missing(Some(false), Some(DISK), &read), None);
        assert_eq!(missing(Some(true), Some(DISK), &write), None);
        for (unified, device) in [(None, Some(DISK)), (Some(true), None), (Some(false), Some(DISK))] {
            assert!(missing(unified, device, &write).is_some());
        }
    }

    #[test]
    fn proc_is_on_no_device() {
        assert_eq!(Device::of(Path::new("/proc")), None);
    }
}
