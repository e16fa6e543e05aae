//! Directories.

use std::os::fd::AsFd;

use nix::fcntl::openat2;
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::existing::{Existing, look};
use super::file::failed;
use super::tree::{OpenDir, Tree, how};
use super::{metadata, whiteout};
use crate::image::ImageError;
use crate::image::tar::Member;

/// Makes the directory, or gives the one that is there what this entry says. Returns the number of attributes left out.
pub fn make(tree: &mut Tree, parent: &[u8], name: &[u8], member: &Member) -> Result<u64, ImageError> {
    let directory = tree.enter(parent)?;
    make_room(directory, name).map_err(|errno| failed(tree, member, errno))?;
    let path = [parent, name].join(if parent.is_empty() { b"".as_slice() } else { b"/" });
    describe(tree, &path, member)
}

/// Applies an entry's metadata to the directory `path`, which is there; the root's path is empty.
pub fn describe(tree: &mut Tree, path: &[u8], member: &Member) -> Result<u64, ImageError> {
    let directory = tree.enter(path)?;
    // What stays open must know that its new entries inherit the group.
    directory.setgid = member.mode & Mode::S_ISGID.bits() != 0;
    directory.set_mtime(metadata::time(member));
    let applied = fstat(&*directory).and_then(|stat| metadata::apply(directory.as_fd(), member, &stat));
    applied.map_err(|errno| failed(tree, member, errno))
}

fn make_room(directory: &mut OpenDir, name: &[u8]) -> nix::Result<()> {
    let existing = look(&*directory, name)?;
    if existing == Existing::Directory {
        return Ok(());
    }
    directory.will_change();
    if existing != Existing::Nothing {
        unlinkat(&*directory, name, UnlinkatFlags::NoRemoveDir)?;
    }
    mkdirat(&*directory, name, Mode::S_IRWXU)?;
    if existing == Existing::Whiteout {
        whiteout::make_opaque(openat2(&*directory, name, how())?.as_fd())?;
    }
    Ok(())
}
