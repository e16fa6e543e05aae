//! Owner, mode, attributes and time of an entry, always by descriptor.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, Mode, fchmod};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};

use crate::image::tar::{Kind, Member};
use crate::sys;

/// Size and revision of a `security.capability` that holds for the initial user namespace (`linux/capability.h`,
/// VFS_CAP_REVISION_2). Revision 3 names a user namespace of the machine that made the image.
const CAPABILITY_SIZE: usize = 20;
const CAPABILITY_REVISION: u8 = 2;

pub fn time(member: &Member) -> TimeSpec {
    TimeSpec::new(member.mtime.0, i64::from(member.mtime.1))
}

/// The ids fit: they were checked against the range of a sandbox.
pub fn owner(member: &Member) -> (Uid, Gid) {
    let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX);
    (Uid::from_raw(id(member.uid)), Gid::from_raw(id(member.gid)))
}

/// Applies all but the time, as far as it is another than what `stat` says. The order matters: a change of owner clears setuid bits
/// and file capabilities. Returns the number of attributes left out.
pub fn apply(fd: BorrowedFd<'_>, member: &Member, stat: &FileStat) -> nix::Result<u64> {
    let (uid, gid) = owner(member);
    let is_owned = stat.st_uid == uid.as_raw() && stat.st_gid == gid.as_raw();
    if !is_owned {
        fchown(fd, Some(uid), Some(gid))?;
    }
    if !is_owned || stat.st_mode & 0o7777 != member.mode {
        fchmod(fd.as_fd(), Mode::from_bits_truncate(member.mode))?;
    }
    let mut dropped = member.dropped_xattrs;
    for (name, value) in &member.xattrs {
        dropped += u64::from(!set(fd, member.kind, name, value)?);
    }
    Ok(dropped)
}

/// `false` if the attribute is one that no image may set, or that this file system does not have.
fn set(fd: BorrowedFd<'_>, kind: Kind, name: &[u8], value: &[u8]) -> nix::Result<bool> {
    if !is_allowed(kind, name, value) {
        return Ok(false);
    }
    let Ok(name) = CString::new(name) else { return Ok(false) };
    match sys::set_xattr(fd, &name, value) {
        Ok(()) => Ok(true),
        Err(Errno::ENOTSUP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn is_allowed(kind: Kind, name: &[u8], value: &[u8]) -> bool {
    if name.len() > 255 || !matches!(kind, Kind::File | Kind::Directory) {
        return false;
    }
    match name {
        b"security.capability" => {
            kind == Kind::File && value.len() == CAPABILITY_SIZE && value.get(3) == Some(&CAPABILITY_REVISION)
        }
        // What overlayfs reads when it is mounted with `userxattr`.
        _ if name.starts_with(b"user.overlay.") => false,
        _ => name.len() > b"user.".len() && name.starts_with(b"user."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_attributes_are_allowed() {
        let mut capability = [0; 20];
        capability[3] = 2;
        assert!(is_allowed(Kind::File, b"security.capability", &capability));
        assert!(is_allowed(Kind::Directory, b"user.x", b""));
        assert!(!is_allowed(Kind::Directory, b"security.capability", &capability));
        assert!(!is_allowed(Kind::File, b"security.capability", &[0; 24]));
        assert!(!is_allowed(Kind::Symlink, b"user.x", b""));
        for name in [
            b"trusted.overlay.redirect".as_slice(),
            b"trusted.overlay.opaque",
            b"user.overlay.opaque",
            b"user.",
            b"security.selinux",
            b"system.posix_acl_access",
            b"",
        ] {
            assert!(!is_allowed(Kind::File, name, b"x"), "{name:?}");
        }
    }
}
