//! Whiteouts and opaque directories, from the form of the archive to the form of overlayfs.

use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::openat2;
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};

use super::existing::{Existing, look};
use super::tree::{OpenDir, how};
use crate::sys;

/// Hides everything of the directory in the layers below.
pub fn make_opaque(directory: BorrowedFd<'_>) -> nix::Result<()> {
    sys::set_xattr(directory, c"trusted.overlay.opaque", b"y")
}

/// Hides `name` in the layers below. What this layer itself has under that name stays, whichever came first: a file hides
/// the one below anyway, a directory must not be merged with it.
pub fn hide(directory: &mut OpenDir, name: &[u8]) -> nix::Result<()> {
    match look(&*directory, name)? {
        Existing::Nothing => {
            directory.will_change();
            mknodat(&*directory, name, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))
        }
        Existing::Directory => make_opaque(openat2(&*directory, name, how())?.as_fd()),
        Existing::Whiteout | Existing::Other => Ok(()),
    }
}
