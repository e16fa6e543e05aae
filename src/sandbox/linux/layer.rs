//! The writable layer of a sandbox: two directories in its own below the state directory, or, where its size is bounded, in
//! a file system of its own.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use nix::sys::statvfs::fstatvfs;

use super::dirs::DISK_IMAGE;
use super::{Inner, failed};
use crate::model::{DiskUsage, Limits, Reason, SandboxId};
use crate::runtime::disk::{DiskError, DiskSize, Disks, OWN_INODES};
use crate::runtime::root::Writable;
use crate::sandbox::host::{HostError, IdBase};

/// What of the limits of the disk cannot be enforced here, in words that end "cannot enforce the ...".
pub fn missing(disks: &Disks, limits: &Limits) -> Option<String> {
    match (limits.disk_bytes, limits.disk_inodes) {
        (None, None) => None,
        (None, Some(_)) => Some("inodes limit: it takes a disk limit beside it".to_owned()),
        (Some(_), _) => disks.problem().map(|problem| format!("disk limit: {problem}")),
    }
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
    let writable = match limits.disk_bytes.filter(|_| inner.bounded_disks.problem().is_none()) {
        None => {
            let writable = Writable::below(dir);
            writable.make().map_err(file_failed)?;
            writable
        }
        Some(bytes) => {
            let size = DiskSize { bytes, inodes: limits.disk_inodes };
            inner.bounded_disks.take(&dir.join(DISK_IMAGE), size).map_err(disk_failed)?
        }
    };
    writable.give(base).map_err(file_failed)?;
    if let Some(mount) = writable.mount() {
        inner.bounded().insert(id.clone(), mount);
    }
    Ok((writable, note))
}

/// Finds the file system of a sandbox again that an earlier daemon made: its root tells of the same one.
pub fn find_again(inner: &Inner, id: &SandboxId, pid: i32) {
    if !inner.dirs.of(id).join(DISK_IMAGE).exists() {
        return;
    }
    let root = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(format!("/proc/{pid}/root"));
    match root {
        Ok(root) => drop(inner.bounded().insert(id.clone(), Arc::new(OwnedFd::from(root)))),
        Err(error) => tracing::warn!(%error, sandbox.id = %id, "the use of its disk will not be told"),
    }
}

/// What is used of a bounded disk, as its file system counts it.
pub fn usage(inner: &Inner, id: &SandboxId) -> Option<DiskUsage> {
    let mount = inner.bounded().get(id).cloned()?;
    let found = fstatvfs(&mount).ok()?;
    let blocks = found.blocks().saturating_sub(found.blocks_free());
    let inodes = found.files().saturating_sub(found.files_free()).saturating_sub(OWN_INODES);
    Some(DiskUsage { bytes: blocks.saturating_mul(found.fragment_size()), inodes, complete: true })
}

fn file_failed(error: io::Error) -> HostError {
    failed(Reason::StartFailed, &error)
}

fn disk_failed(error: DiskError) -> HostError {
    failed(Reason::StartFailed, &error)
}
