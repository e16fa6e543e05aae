//! Writing the sandbox's name and resolver into its root, before anything runs in it, where the image's `/etc` is such that
//! they cannot be a layer of it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, unlinkat};

use crate::sys;

/// Writes these files into `/etc` of the root. What the image has by their names goes, links as well; a directory by such
/// a name stays, and the file is not written. `owner` is the sandbox's root on the host.
///
/// # Errors
/// As the calls, told with what they were to do.
pub fn write(root: &OwnedFd, owner: u32, files: &[(&str, String)]) -> sys::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let etc = open_etc(root, owner)?;
    for (name, text) in files {
        if let Some(file) = create(&etc, name)? {
            sys::told(fchown(&file, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner))), || {
                format!("fchown(/etc/{name}, {owner})")
            })?;
            // The daemon's own umask leaves nothing to others.
            let open = fchmod(&file, Mode::from_bits_truncate(0o644));
            sys::told(open, || format!("fchmod(/etc/{name}, 0644)"))?;
            sys::told(File::from(file).write_all(text.as_bytes()), || format!("write(/etc/{name})"))?;
        }
    }
    Ok(())
}

/// The image decides where its `/etc` is, but not beyond the root.
fn open_etc(root: &OwnedFd, owner: u32) -> sys::Result<OwnedFd> {
    let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(inside);
    match openat2(root.as_fd(), "etc", how) {
        Err(Errno::ENOENT) => {
            // A link that leads nowhere is in the way of the directory.
            let _ = unlinkat(root, "etc", UnlinkatFlags::NoRemoveDir);
            sys::told(mkdirat(root, "etc", Mode::from_bits_truncate(0o755)), || "mkdirat(root, \"etc\")".to_owned())?;
            let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
            let owned = fchownat(root, "etc", uid, gid, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW);
            sys::told(owned, || format!("fchownat(root, \"etc\", {owner})"))?;
            sys::told(openat2(root.as_fd(), "etc", how), || "openat2(root, \"etc\")".to_owned())
        }
        other => sys::told(other, || "openat2(root, \"etc\", O_PATH, IN_ROOT)".to_owned()),
    }
}

fn create(etc: &OwnedFd, name: &str) -> sys::Result<Option<OwnedFd>> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let make = || openat(etc, name, flags, Mode::from_bits_truncate(0o644));
    let made = match make() {
        Err(Errno::EEXIST) => match unlinkat(etc, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => return Ok(None),
            Err(errno) => Err(errno),
            Ok(()) => make(),
        },
        other => other,
    };
    sys::told(made.map(Some), || format!("openat(/etc, {name:?}, O_CREAT|O_EXCL)"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(dir: &tempfile::TempDir) -> OwnedFd {
        File::open(dir.path()).expect("opened").into()
    }

    /// Whoever runs the tests.
    fn own() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn what_the_image_has_by_these_names_goes() {
        let (dir, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let precious = outside.path().join("precious");
        fs::write(&precious, "kept").expect("written");
        fs::create_dir(dir.path().join("etc")).expect("made");
        symlink(&precious, dir.path().join("etc/hosts")).expect("linked");
        fs::create_dir(dir.path().join("etc/hostname")).expect("made");
        let files = ["hosts", "hostname", "resolv.conf"].map(|name| (name, format!("{name}\n")));
        write(&root(&dir), own(), &files).expect("written");
        assert_eq!(fs::read_to_string(&precious).expect("there"), "kept");
        assert_eq!(fs::read_to_string(dir.path().join("etc/hosts")).expect("there"), "hosts\n");
        assert_eq!(fs::read_to_string(dir.path().join("etc/resolv.conf")).expect("there"), "resolv.conf\n");
        assert!(dir.path().join("etc/hostname").is_dir());
        assert!(!fs::symlink_metadata(dir.path().join("etc/hosts")).expect("there").is_symlink());
    }

    #[test]
    fn etc_is_found_inside_the_root_or_made_there() {
        let outside = tempfile::tempdir().expect("a directory");
        // Seen from the root, the same path is a directory of its own.
        let within = outside.path().strip_prefix("/").expect("an absolute path");
        for (link, exists) in [(None, true), (Some(outside.path()), true), (Some(within), true), (Some(within), false)]
        {
            let dir = tempfile::tempdir().expect("a directory");
            if exists {
                fs::create_dir_all(dir.path().join(within)).expect("made");
            }
            if let Some(link) = link {
                symlink(link, dir.path().join("etc")).expect("linked");
            }
            write(&root(&dir), own(), &[("hosts", "x".to_owned())]).expect("written");
            let place = if link.is_some() && exists { dir.path().join(within) } else { dir.path().join("etc") };
            assert_eq!(fs::read_to_string(place.join("hosts")).expect("there"), "x", "{link:?}");
            assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0);
        }
    }
}
