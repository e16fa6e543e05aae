//! Removing a tree that a sandbox has made.
//!
//! Its depth has no bound but the disk: a program that makes a directory, enters it and goes on gets to a million levels.
//! So nothing here is recursive (`fs::remove_dir_all` is, and would end the daemon by an overflow of its stack), and only
//! one directory is open at a time.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory on the way from the top to where we are.
struct Level {
    /// Its name in the directory above.
    name: CString,
    /// Device and inode: on the way back, `..` has to be the directory that we came through.
    identity: (u64, u64),
    /// What is still to be removed in it.
    directories: Vec<CString>,
}

/// Removes the directory and everything below, without following a link; one that is not there is removed.
///
/// # Errors
/// `EBUSY` when somebody moves directories meanwhile, and whatever else keeps something from being removed. What was removed
/// until then stays removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match openat(AT_FDCWD, path, DIRECTORY, Mode::empty()) {
        Ok(top) => empty(top)?,
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    fs::remove_dir(path)
}

fn empty(top: OwnedFd) -> nix::Result<()> {
    let mut here = top;
    let mut level = enter(&here, CString::default())?;
    let mut above: Vec<Level> = Vec::new();
    loop {
        if let Some(name) = level.directories.pop() {
            here = openat(&here, name.as_c_str(), DIRECTORY, Mode::empty())?;
            above.push(std::mem::replace(&mut level, enter(&here, name)?));
            continue;
        }
        let Some(parent) = above.pop() else { return Ok(()) };
        here = openat(&here, "..", DIRECTORY, Mode::empty())?;
        if identity(&here)? != parent.identity {
            return Err(Errno::EBUSY);
        }
        unlinkat(&here, level.name.as_c_str(), UnlinkatFlags::RemoveDir)?;
        level = parent;
    }
}

/// Removes what is no directory, and notes the directories.
fn enter(here: &OwnedFd, name: CString) -> nix::Result<Level> {
    let mut directories = Vec::new();
    for entry in Dir::openat(here, ".", DIRECTORY, Mode::empty())?.iter() {
        let entry = entry?;
        let found = entry.file_name();
        if found == c"." || found == c".." {
            continue;
        }
        if entry.file_type() == Some(Type::Directory) || !unlinked(here, found)? {
            directories.push(found.to_owned());
        }
    }
    Ok(Level { name, identity: identity(here)?, directories })
}

/// False for a directory, which not every file system tells when it lists it.
fn unlinked(here: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    match unlinkat(here, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::EISDIR) => Ok(false),
        Err(error) => Err(error),
    }
}

fn identity(directory: impl AsFd) -> nix::Result<(u64, u64)> {
    fstat(directory).map(|about| (about.st_dev, about.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::mkdirat;

    use super::*;

    #[test]
    fn a_tree_goes_and_what_its_links_point_at_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tree, precious) = (dir.path().join("tree"), dir.path().join("precious"));
        for name in ["a/b", "a/c/d", "e"] {
            fs::create_dir_all(tree.join(name)).expect("made");
            fs::write(tree.join(name).join("file"), "x").expect("written");
        }
        fs::create_dir(&precious).expect("made");
        fs::write(precious.join("file"), "kept").expect("written");
        symlink(&precious, tree.join("a/link")).expect("linked");
        remove(&tree).expect("removed");
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(precious.join("file")).expect("there"), "kept");
        remove(&tree).expect("removed already");
    }

    #[test]
    fn no_depth_is_too_deep() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).expect("made");
        let mut here = openat(AT_FDCWD, &tree, DIRECTORY, Mode::empty()).expect("opened");
        for _ in 0..10_000 {
            mkdirat(&here, "d", Mode::S_IRWXU).expect("made");
            here = openat(&here, "d", DIRECTORY, Mode::empty()).expect("opened");
        }
        remove(&tree).expect("removed");
        assert!(!tree.exists());
    }

    #[test]
    fn a_link_in_place_of_the_tree_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("file"), "kept").expect("written");
        let link = dir.path().join("link");
        symlink(dir.path(), &link).expect("linked");
        assert!(remove(&link).is_err());
        assert!(dir.path().join("file").exists());
    }
}
