//! What is already in the place of an entry.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Nothing,
    Directory,
    /// The only character devices in a layer are the whiteouts that we made.
    Whiteout,
    Other,
}

pub fn look(directory: impl AsFd, name: &[u8]) -> nix::Result<Existing> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(Existing::Nothing),
        Err(errno) => Err(errno),
        Ok(stat) => Ok(match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => Existing::Directory,
            SFlag::S_IFCHR => Existing::Whiteout,
            _ => Existing::Other,
        }),
    }
}

/// Makes room for an entry that is no directory. A directory gives way only if it is empty (`ENOTEMPTY`).
pub fn remove(directory: impl AsFd, name: &[u8]) -> nix::Result<()> {
    let flag = match look(&directory, name)? {
        Existing::Nothing => return Ok(()),
        Existing::Directory => UnlinkatFlags::RemoveDir,
        Existing::Whiteout | Existing::Other => UnlinkatFlags::NoRemoveDir,
    };
    unlinkat(directory, name, flag)
}
