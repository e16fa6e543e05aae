//! The writable layer of a sandbox, bounded or not, in its own directory below the state directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Inner, failed};
use crate::model::{DiskUsage, Limits, Reason, SandboxId};
use crate::runtime::disk::{self, Bounds, Disk, Disks};
use crate::runtime::root::Writable;
use crate::sandbox::host::{HostError, IdBase};

/// What of the limits of the disk cannot be enforced here, in words that end "cannot enforce the ...".
pub fn missing(disks: &Disks, limits: &Limits) -> Option<String> {
    disks.missing(bounds(limits))
}

pub fn bounds(limits: &Limits) -> Bounds {
    Bounds { bytes: limits.disk_bytes, inodes: limits.disk_inodes }
}

/// Makes it, with what this host cannot enforce of it.
pub fn make(
    inner: &Inner,
    id: &SandboxId,
    dir: &Path,
    base: IdBase,
    limits: &Limits,
) -> Result<(Writable, Option<String>), HostError> {
    let missing = missing(&inner.bounded_disks, limits);
    if inner.config.refuse_unenforceable
        && let Some(what) = &missing
    {
        let message = format!("enforce the {what} (this server refuses what it cannot: limits.unenforceable)");
        return Err(HostError { reason: Reason::LimitNotEnforceable, message });
    }
    let note = missing.map(|what| format!("this host cannot enforce the {what}"));
    let taken = inner.bounded_disks.take(dir, bounds(limits));
    let (writable, disk) = taken.map_err(|error| failed(Reason::StartFailed, &error))?;
    writable.give(base).map_err(|error| failed(Reason::StartFailed, &error))?;
    inner.bounded().extend(disk.map(|disk| (id.clone(), disk)));
    Ok((writable, note))
}

/// Finds the disk of a sandbox again that an earlier daemon made.
pub fn find_again(inner: &Inner, id: &SandboxId, pid: i32) {
    match Disk::find_again(&inner.dirs.of(id), || open_root(pid)) {
        Ok(disk) => inner.bounded().extend(disk.map(|disk| (id.clone(), disk))),
        Err(error) => tracing::warn!(%error, sandbox.id = %id, "the use of its disk will not be told"),
    }
}

fn open_root(pid: i32) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(format!("/proc/{pid}/root"))
}

/// What is used of a bounded disk, as its file system counts it.
pub fn usage(inner: &Inner, id: &SandboxId) -> Option<DiskUsage> {
    let disk = inner.bounded().get(id).cloned()?;
    disk.usage()
}

/// Where the writable layer is, and what bounds it if anything does.
pub fn place(inner: &Inner, id: &SandboxId) -> (String, String) {
    let (dir, disk) = (inner.dirs.of(id), inner.bounded().get(id).cloned());
    let name = match disk {
        None => "upper",
        Some(Disk::Loop(_)) => disk::IMAGE,
        Some(Disk::Project(_)) => disk::DIRECTORY,
    };
    (dir.join(name).display().to_string(), disk.map(|disk| disk.words()).unwrap_or_default())
}
