//! Symbolic and hard links.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat2};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::unistd::{fchownat, linkat, symlinkat};

use super::existing::{Existing, look};
use super::file::{failed, replacing};
use super::tree::{Tree, how};
use super::{metadata, name};
use crate::image::tar::Member;
use crate::image::{ImageError, UnpackLimits};

/// A symbolic link may say anything: it is resolved by the sandbox, inside the sandbox.
pub fn make_symlink(tree: &mut Tree, parent: &[u8], name: &[u8], member: &Member) -> Result<u64, ImageError> {
    if member.link.is_empty() || member.link.len() > 4095 || member.link.contains(&0) {
        return Err(ImageError::bad(tree.at(&member.name), "it is a symbolic link whose target is no path"));
    }
    let directory = tree.enter(parent)?;
    let made = replacing(directory, name, |directory, name| symlinkat(member.link.as_slice(), directory, name));
    let (time, (uid, gid)) = (metadata::time(member), metadata::owner(member));
    made.and_then(|()| {
        if directory.setgid || member.uid != 0 || member.gid != 0 {
            fchownat(&*directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        utimensat(&*directory, name, &time, &time, UtimensatFlags::NoFollowSymlink)
    })
    .map_err(|errno| failed(tree, member, errno))?;
    Ok(member.dropped_xattrs + member.xattrs.len() as u64)
}

/// A hard link to an entry of the same layer that came before. The layer's directory holds nothing else, and neither the
/// way to the target nor the target itself is followed.
pub fn make_hard_link(
    tree: &mut Tree,
    parent: &[u8],
    name: &[u8],
    member: &Member,
    limits: &UnpackLimits,
) -> Result<(), ImageError> {
    let bad = |tree: &Tree, problem: &str| Err(ImageError::bad(tree.at(&member.name), problem));
    let (from, target) = match name::parse_link(&member.link, limits) {
        Ok(place) => place,
        Err(problem) => return bad(tree, &format!("the target of the hard link: {problem}")),
    };
    if from == parent && target == name {
        return bad(tree, "it is a hard link to itself");
    }
    let source = match open_directory(tree, &from) {
        Ok(source) => source,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {
            return bad(tree, "it is a hard link to nothing in its layer");
        }
        Err(errno) => return Err(failed(tree, member, errno)),
    };
    match look(&source, &target) {
        Ok(Existing::Other) => {}
        Ok(Existing::Nothing) => return bad(tree, "it is a hard link to nothing in its layer"),
        Ok(Existing::Directory | Existing::Whiteout) => {
            return bad(tree, "it is a hard link to something that is no file");
        }
        Err(errno) => return Err(failed(tree, member, errno)),
    }
    let directory = tree.enter(parent)?;
    let made = replacing(directory, name, |directory, name| {
        // No AT_SYMLINK_FOLLOW: a hard link to a symbolic link is another name of that link.
        linkat(&source, target.as_slice(), directory, name, AtFlags::empty())
    });
    made.map_err(|errno| match errno {
        Errno::ENOENT => ImageError::bad(tree.at(&member.name), "it is a hard link to nothing in its layer"),
        Errno::EMLINK => ImageError::bad(tree.at(&member.name), "its target has too many hard links"),
        errno => failed(tree, member, errno),
    })
}

fn open_directory(tree: &Tree, path: &[u8]) -> nix::Result<OwnedFd> {
    let root: BorrowedFd<'_> = tree.root().as_fd();
    if path.is_empty() { openat2(root, b".".as_slice(), how()) } else { openat2(root, path, how()) }
}
