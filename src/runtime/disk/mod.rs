//! A writable layer of bounded size, on whatever file system the state directory is on: an ext4 file system of its own, in a
//! sparse file, on a loop device.
//!
//! The kernel refuses what goes beyond it with ENOSPC, bytes and files alike. What is not used takes no room. Mount and
//! device belong to nobody but the sandbox's root and end with it, also when no daemon is there.
//!
//! One file system of each size is made by a program ([`template`]) and copied for each disk ([`maker`]). A few disks of the
//! sizes that are asked for ([`shelf`]) are made ahead ([`ahead`]), so that a create takes one by renaming a file.

mod ahead;
mod maker;
mod shelf;
mod template;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use ahead::Disks;
pub use maker::find;

use crate::sys::SyscallError;

/// Bytes of an inode in the table.
const INODE_BYTES: u64 = 256;
/// A file for each so many bytes, when nothing else is asked: what mke2fs takes.
const BYTES_FOR_A_FILE: u64 = 16 << 10;
/// Inodes that the file system and the overlay take for themselves.
pub const OWN_INODES: u64 = 16;
const BLOCK: u64 = 4096;
/// Blocks that a block of bits can tell of.
const GROUP: u64 = 8 * BLOCK * BLOCK;

/// What a sandbox may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSize {
    pub bytes: u64,
    /// Files and directories.
    pub inodes: Option<u64>,
}

impl DiskSize {
    fn inodes(self) -> u64 {
        let most = u64::from(u32::MAX) / 2;
        self.inodes.unwrap_or(self.bytes / BYTES_FOR_A_FILE).clamp(1, most) + OWN_INODES
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
    #[error("bound a disk: {0}")]
    Missing(&'static str),
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
