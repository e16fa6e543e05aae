//! Devices of a version 1 hierarchy: everything is denied but the six of `/dev` and terminals.

use std::path::Path;

use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};

use super::{CgroupError, refused};

pub fn deny_devices(dir: &Path) -> Result<(), CgroupError> {
    let devices = DevicesController::new(dir.to_owned(), dir.to_owned());
    let list = "the device list";
    devices.deny_device(DeviceType::All, -1, -1, &DevicePermissions::all()).map_err(refused(list, dir))?;
    let access = [DevicePermissions::Read, DevicePermissions::Write];
    // null, zero, full, random, urandom; tty, ptmx; pseudo-terminals (devices.txt of the kernel).
    let allowed = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1)];
    for (major, minor) in allowed {
        devices.allow_device(DeviceType::Char, major, minor, &access).map_err(refused(list, dir))?;
    }
    Ok(())
}
