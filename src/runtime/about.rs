//! Files that tell a sandbox about itself (`/etc/hosts` and its like), as a layer between its image and what it writes.
//!
//! To write them into the sandbox's own directory would first copy the directories above them up, and costs half a
//! millisecond. As a layer they are there before anybody asks for the sandbox, and like everything of an image they can be
//! changed, replaced and removed: the overlay copies a file that is written to.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};

use crate::sys::{self, FsContext, MountAttr};

/// The directory that they are in.
const ETC: &str = "etc";

/// Names below `/etc`, and what is in the files.
pub type Files = Vec<(&'static str, String)>;

/// A small file system in memory, which is gone with the last mount of it.
#[derive(Debug)]
pub struct About {
    mount: OwnedFd,
    owner: u32,
    files: Files,
}

impl About {
    /// All of it belongs to `owner`, the sandbox's root on the host.
    ///
    /// # Errors
    /// As the calls.
    pub fn make(owner: u32, files: Files) -> sys::Result<Self> {
        let context = FsContext::open(c"tmpfs")?;
        for (key, value) in [(c"size", c"64k"), (c"nr_inodes", c"16"), (c"mode", c"755")] {
            context.string(key, value)?;
        }
        let mount = context.mount(MountAttr::NO_DEV.and(MountAttr::NO_SUID))?;
        own(&mount, ".", owner)?;
        sys::told(mkdirat(&mount, ETC, Mode::from_bits_truncate(0o755)), || format!("mkdirat(tmpfs, {ETC:?})"))?;
        own(&mount, ETC, owner)?;
        let open = fchmodat(&mount, ETC, Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink);
        sys::told(open, || format!("fchmodat(tmpfs, {ETC:?}, 0755)"))?;
        let about = Self { mount, owner, files: Vec::new() };
        files.iter().try_for_each(|(name, text)| about.write(name, text))?;
        Ok(Self { files, ..about })
    }

    /// The files are to say this. Only before the layer is part of a root.
    ///
    /// # Errors
    /// As the calls.
    pub fn say(&mut self, files: Files) -> sys::Result<()> {
        let mut changed = files.iter().filter(|file| !self.files.contains(file));
        changed.try_for_each(|(name, text)| self.write(name, text))?;
        self.files = files;
        Ok(())
    }

    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    #[must_use]
    pub fn mount(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    #[must_use]
    pub fn into_mount(self) -> OwnedFd {
        self.mount
    }

    /// Makes `/etc` what it is in the layers below (names in `layers`, lowest first), because the topmost of an overlay decides.
    /// False when it is no directory there: then the layer would hide what is.
    ///
    /// # Errors
    /// As the calls.
    pub fn fit(&self, dir: BorrowedFd<'_>, layers: &[String]) -> sys::Result<bool> {
        match etc_of(dir, layers) {
            Etc::Missing => Ok(true),
            Etc::Directory(found) => self.resemble(&found).map(|()| true),
            Etc::Other => Ok(false),
        }
    }

    fn resemble(&self, found: &FileStat) -> sys::Result<()> {
        let (dir, mode) = (&self.mount, Mode::from_bits_truncate(found.st_mode));
        let told = || format!("make /{ETC} as in the image");
        sys::told(
            fchownat(
                dir,
                ETC,
                Some(Uid::from_raw(found.st_uid)),
                Some(Gid::from_raw(found.st_gid)),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            ),
            told,
        )?;
        sys::told(fchmodat(dir, ETC, mode, FchmodatFlags::FollowSymlink), told)?;
        let (accessed, changed) =
            (TimeSpec::new(found.st_atime, found.st_atime_nsec), TimeSpec::new(found.st_mtime, found.st_mtime_nsec));
        sys::told(utimensat(dir, ETC, &accessed, &changed, UtimensatFlags::NoFollowSymlink), told)
    }

    fn write(&self, name: &str, text: &str) -> sys::Result<()> {
        let path = format!("{ETC}/{name}");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = sys::told(openat(&self.mount, path.as_str(), flags, Mode::from_bits_truncate(0o644)), || {
            format!("openat(tmpfs, {path:?}, O_CREAT)")
        })?;
        let (uid, gid) = (Some(Uid::from_raw(self.owner)), Some(Gid::from_raw(self.owner)));
        sys::told(fchown(&file, uid, gid), || format!("fchown({path:?}, {})", self.owner))?;
        // The daemon's own umask leaves nothing to others.
        sys::told(fchmod(&file, Mode::from_bits_truncate(0o644)), || format!("fchmod({path:?}, 0644)"))?;
        sys::told(std::fs::File::from(file).write_all(text.as_bytes()), || format!("write({path:?})"))
    }
}

fn own(dir: &OwnedFd, path: &str, owner: u32) -> sys::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
    let done = fchownat(dir, path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW);
    sys::told(done, || format!("fchownat([{}], {path:?}, {owner})", dir.as_raw_fd()))
}

/// What the topmost layer that has one has at `/etc`.
enum Etc {
    Missing,
    Directory(Box<FileStat>),
    Other,
}

fn etc_of(dir: BorrowedFd<'_>, layers: &[String]) -> Etc {
    let Some(found) = layers.iter().rev().find_map(|layer| look(dir, &format!("{layer}/{ETC}"))) else {
        return Etc::Missing;
    };
    match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Etc::Directory(Box::new(found)),
        // A layer below had one, and here it is removed.
        SFlag::S_IFCHR if found.st_rdev == 0 => Etc::Missing,
        _ => Etc::Other,
    }
}

/// What is there, if anything.
fn look(dir: BorrowedFd<'_>, path: &str) -> Option<FileStat> {
    match fstatat(dir, path, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Some(found),
        Err(Errno::EINTR) => look(dir, path),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_topmost_layer_decides() {
        let dir = tempfile::tempdir().expect("a directory");
        for layer in ["directory", "link", "file", "nothing"] {
            fs::create_dir(dir.path().join(layer)).expect("made");
        }
        fs::create_dir(dir.path().join("directory/etc")).expect("made");
        symlink("/usr/etc", dir.path().join("link/etc")).expect("linked");
        fs::write(dir.path().join("file/etc"), "").expect("written");
        let opened = File::open(dir.path()).expect("opened");
        let found = |layers: &[&str]| {
            let layers: Vec<String> = layers.iter().map(|layer| (*layer).to_owned()).collect();
            match etc_of(opened.as_fd(), &layers) {
                Etc::Missing => "missing",
                Etc::Directory(_) => "directory",
                Etc::Other => "other",
            }
        };
        assert_eq!(found(&[]), "missing");
        assert_eq!(found(&["nothing", "gone"]), "missing");
        assert_eq!(found(&["link", "directory", "nothing"]), "directory");
        assert_eq!(found(&["directory", "link"]), "other");
        assert_eq!(found(&["directory", "file", "nothing"]), "other");
    }
}
