//! One entry of an unpacked layer.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag};

use crate::sys;

const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Symlink,
    Fifo,
    /// A character device 0:0: the name is not to be seen.
    Whiteout,
    /// Nothing that unpacking makes.
    Other,
}

/// An entry, and where it lies.
#[derive(Debug)]
pub struct Entry<'a> {
    /// From the layer's root, without slashes around it; the root's is empty.
    pub path: &'a [u8],
    pub stat: FileStat,
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
}

impl Entry<'_> {
    pub fn kind(&self) -> Kind {
        match SFlag::from_bits_truncate(self.stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFLNK => Kind::Symlink,
            SFlag::S_IFIFO => Kind::Fifo,
            SFlag::S_IFCHR if self.stat.st_rdev == 0 => Kind::Whiteout,
            _ => Kind::Other,
        }
    }

    /// Bytes of the file, holes included.
    pub fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or_default()
    }

    /// Opens a file or directory for reading; a link is not followed.
    pub fn open(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOATIME | OFlag::O_CLOEXEC;
        openat(self.directory, self.name, flags, Mode::empty())
    }

    /// What a symbolic link says.
    pub fn link(&self) -> nix::Result<Vec<u8>> {
        readlinkat(self.directory, self.name).map(OsStringExt::into_vec)
    }

    /// The path with `prefix` before its last component.
    pub(super) fn beside(&self, prefix: &[u8]) -> Vec<u8> {
        let start = self.path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        // `start` is at most the length.
        let (parent, name) = self.path.split_at(start);
        [parent, prefix, name].concat()
    }
}

/// The attributes of an open entry that an image may have, sorted.
pub fn attributes(fd: &impl AsFd) -> nix::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let is_images = |name: &CStr| name.to_bytes().starts_with(b"user.") || name == c"security.capability";
    let mut names = sys::list_xattrs(fd.as_fd())?;
    names.retain(|name| is_images(name));
    names.sort();
    names.iter().map(|name| Ok((name.to_bytes().to_vec(), sys::get_xattr(fd.as_fd(), name)?))).collect()
}

/// Whether nothing of an open directory is to be seen in the layers below.
pub fn is_opaque(fd: &impl AsFd) -> bool {
    sys::has_xattr(fd.as_fd(), OPAQUE, b"y")
}
