//! The way through an unpacked layer, by descriptors: each entry once, a directory before what is in it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use super::entry::{Entry, Kind};
use crate::image::ImageError;
use crate::image::tar::shown;

/// How the entries of a directory follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By the bytes of their names. The names of a whole directory are in memory then.
    Sorted,
    /// As the file system has them.
    AsFound,
}

/// A directory on the way, and what is left of it.
struct Frame {
    fd: OwnedFd,
    names: Box<dyn Iterator<Item = nix::Result<CString>>>,
    path_length: usize,
}

/// Shows every entry below `root`, and `root` itself first; `at` names the layer in errors. No link is followed, and no mount is
/// expected.
///
/// # Errors
/// What `visit` fails of, or when something cannot be looked at.
pub fn walk(
    root: OwnedFd,
    at: &str,
    order: Order,
    visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let failed = |path: &[u8], errno: Errno| ImageError::io(format!("look at {at}, entry {}", shown(path)), errno);
    let mut path = Vec::new();
    let stat = fstatat(&root, c".", AtFlags::empty()).map_err(|errno| failed(&path, errno))?;
    visit(&Entry { path: &path, stat, directory: root.as_fd(), name: c"." })?;
    let mut stack = vec![Frame::new(root, order, 0).map_err(|errno| failed(&path, errno))?];
    while let Some(frame) = stack.last_mut() {
        path.truncate(frame.path_length);
        let Some(name) = frame.names.next() else {
            stack.pop();
            continue;
        };
        let name = name.map_err(|errno| failed(&path, errno))?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let looked = fstatat(&frame.fd, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        let stat = looked.map_err(|errno| failed(&path, errno))?;
        let entry = Entry { path: &path, stat, directory: frame.fd.as_fd(), name: &name };
        visit(&entry)?;
        if entry.kind() == Kind::Directory {
            let below = entry.open().and_then(|fd| Frame::new(fd, order, path.len()));
            stack.push(below.map_err(|errno| failed(&path, errno))?);
        }
    }
    Ok(())
}

impl Frame {
    fn new(fd: OwnedFd, order: Order, path_length: usize) -> nix::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOATIME | OFlag::O_CLOEXEC;
        let listing = Dir::from_fd(openat(&fd, c".", flags, Mode::empty())?)?.into_iter();
        let names = listing.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
        let names = names.filter(|name| !matches!(name.as_deref().map(std::ffi::CStr::to_bytes), Ok(b"." | b"..")));
        let names: Box<dyn Iterator<Item = _>> = match order {
            Order::AsFound => Box::new(names),
            Order::Sorted => {
                let mut sorted = names.collect::<nix::Result<Vec<_>>>()?;
                sorted.sort();
                Box::new(sorted.into_iter().map(Ok))
            }
        };
        Ok(Self { fd, names, path_length })
    }
}
