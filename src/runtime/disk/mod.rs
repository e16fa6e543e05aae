//! A writable layer of bounded size, on whatever file system the state directory is on ([`choice`]).
//!
//! Where that file system counts and bounds projects, a disk is a directory with a project of its own ([`project`]), made as
//! quickly as any other. Everywhere else it is an ext4 file system of its own, in a sparse file on a loop device: the kernel
//! refuses what goes beyond it with ENOSPC, bytes and files alike. What is not used takes no room. Mount and device belong to
//! nobody but the sandbox's root and end with it, also when no daemon is there.
//!
//! One file system of each size is made by a program ([`template`]) and copied for each disk ([`maker`]). A few disks of the
//! sizes that are asked for ([`shelf`]) are made ahead ([`ahead`]), so that a create takes one by renaming a file.
//!
//! What counts is what is written over the image, by the sandbox or, where the image's `/etc` leaves no other way, by the daemon
//! for it; not the output of its entrypoint, which has a bound of its own.

mod ahead;
mod choice;
mod maker;
mod project;
mod shelf;
mod template;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use choice::{Disk, Disks, find};
pub use project::lift;

use crate::sys::SyscallError;

/// The file of a disk with a file system of its own, in the directory of its sandbox.
pub const IMAGE: &str = "disk.ext4";
/// The directory of a disk that is a project, likewise.
pub const DIRECTORY: &str = "disk";

/// Bytes of an inode in the table.
const INODE_BYTES: u64 = 256;
/// A file for each so many bytes, when nothing else is asked: what mke2fs takes.
const BYTES_FOR_A_FILE: u64 = 16 << 10;
/// Inodes that the file system and the overlay take for themselves.
const OWN_INODES: u64 = 16;
const BLOCK: u64 = 4096;
/// Blocks that a block of bits can tell of.
const GROUP: u64 = 8 * BLOCK * BLOCK;

/// What a sandbox may write, as far as somebody said it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    pub bytes: Option<u64>,
    /// Files and directories.
    pub inodes: Option<u64>,
}

impl Bounds {
    /// Where bytes are bounded.
    #[must_use]
    pub fn size(self) -> Option<DiskSize> {
        self.bytes.map(|bytes| DiskSize { bytes, inodes: self.inodes })
    }

    /// Files, as many as the bytes are for when nothing else is said.
    fn files(self) -> Option<u64> {
        let most = u64::from(u32::MAX) / 2;
        let files = self.inodes.or(self.bytes.map(|bytes| bytes / BYTES_FOR_A_FILE));
        files.map(|files| files.clamp(1, most))
    }
}

/// What a disk with a file system of its own holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSize {
    pub bytes: u64,
    /// Files and directories.
    pub inodes: Option<u64>,
}

impl DiskSize {
    fn inodes(self) -> u64 {
        let bounds = Bounds { bytes: Some(self.bytes), inodes: self.inodes };
        bounds.files().unwrap_or_default() + OWN_INODES
    }

    /// So large that `bytes` are left when the file system has taken what it needs: the inodes, and two blocks of bits and
    /// a share of the table of groups for each group.
    fn whole(self) -> u64 {
        // The kernel holds back this much for what it has promised to write.
        let promised = (self.bytes / 50).min(4096 * BLOCK);
        let plain = self.bytes + promised + self.inodes() * INODE_BYTES;
        let groups = plain.div_ceil(GROUP);
        (plain + (groups * 3 + 16) * BLOCK).next_multiple_of(BLOCK)
    }
}

#[derive(Debug, Error)]
pub enum DiskError {
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("make a file system of {bytes} bytes: mke2fs: {told}")]
    Make { bytes: u64, told: String },
    #[error("find a project that nobody uses, from {first} on")]
    NoProject { first: u32 },
    #[error("bound project {id}: the file system does not keep what was set")]
    NotKept { id: u32 },
    #[error(transparent)]
    Syscall(#[from] SyscallError),
}

impl DiskError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_larger_than_what_it_holds() {
        let size = DiskSize { bytes: 1 << 30, inodes: None };
        assert_eq!(size.inodes(), 65_536 + OWN_INODES);
        assert!(size.whole() > (1 << 30) + (32 << 20) && size.whole() < (1 << 30) + (34 << 20));
    }
}
