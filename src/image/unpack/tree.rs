//! The directory that a layer is unpacked into, walked by descriptors.
//!
//! Directories on the way to the last entry stay open, so that consecutive entries of one directory cost one
//! `openat2`. Making an entry changes its directory's time; the time is put back when the directory is left, so no list of
//! directories has to be kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::existing::{Existing, look};
use crate::image::ImageError;
use crate::image::tar::shown;

/// The time of a directory that no entry describes: the same archive gives the same tree, whenever it is unpacked.
pub const NEVER: TimeSpec = TimeSpec::new(0, 0);

/// Open directories; more than this many levels are walked anew each time.
const STACK: usize = 48;

/// Resolution cannot leave the directory nor follow a link of any kind.
const CONFINED: ResolveFlag =
    ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_NO_SYMLINKS).union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

#[derive(Debug)]
pub struct Tree {
    /// The root, then ever deeper directories, each below the one before. Never empty.
    stack: Vec<OpenDir>,
    at: String,
    /// Directories that no entry had described when they were needed.
    pub made: u64,
}

#[derive(Debug)]
pub struct OpenDir {
    path: Vec<u8>,
    fd: OwnedFd,
    /// Entries made here would get this directory's group.
    pub setgid: bool,
    mtime: TimeSpec,
    changed: bool,
}

impl AsFd for OpenDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OpenDir {
    fn new(path: Vec<u8>, fd: OwnedFd) -> nix::Result<Self> {
        let stat = fstat(&fd)?;
        let mtime = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
        Ok(Self { path, fd, setgid: is_setgid(&stat), mtime, changed: false })
    }

    /// To be called before an entry is made or removed in it.
    pub fn will_change(&mut self) {
        self.changed = true;
    }

    /// The time that it shall have when all is done.
    pub fn set_mtime(&mut self, mtime: TimeSpec) {
        self.mtime = mtime;
        self.changed = true;
    }

    fn leave(self) -> nix::Result<()> {
        if self.changed { futimens(&self.fd, &self.mtime, &self.mtime) } else { Ok(()) }
    }
}

fn is_setgid(stat: &FileStat) -> bool {
    stat.st_mode & Mode::S_ISGID.bits() != 0
}

impl Tree {
    /// `root` is the layer's own, empty directory; `at` names the layer in errors.
    pub fn new(root: OwnedFd, at: &str) -> Result<Self, ImageError> {
        let root = OpenDir::new(Vec::new(), root).map_err(|errno| ImageError::io(format!("look at {at}"), errno))?;
        Ok(Self { stack: vec![root], at: at.to_owned(), made: 0 })
    }

    /// Opens the directory `path` (no slashes around it, no `..` in it), making what is missing of it 0755 and root's.
    pub fn enter(&mut self, path: &[u8]) -> Result<&mut OpenDir, ImageError> {
        self.leave_all_but_ancestors(path)?;
        if self.top().path != path {
            let rest = self.rest(path);
            match openat2(self.top(), rest.as_slice(), how()) {
                Ok(fd) => self.push(path.to_vec(), fd)?,
                Err(Errno::ENOENT | Errno::ENOTDIR) => self.walk(path, &rest)?,
                Err(errno) => return Err(self.not_a_directory(path, errno)),
            }
        }
        Ok(self.top_mut())
    }

    /// Puts back the times of everything that is open.
    pub fn finish(mut self) -> Result<(), ImageError> {
        while let Some(directory) = self.stack.pop() {
            let path = directory.path.clone();
            directory.leave().map_err(|errno| self.failed("set the time of", &path, errno))?;
        }
        Ok(())
    }

    pub fn root(&self) -> &OpenDir {
        self.stack.first().unwrap_or_else(|| unreachable!("the root stays on the stack"))
    }

    pub fn at(&self, path: &[u8]) -> String {
        format!("{}, entry {}", self.at, shown(path))
    }

    pub fn failed(&self, doing: &str, path: &[u8], errno: Errno) -> ImageError {
        ImageError::io(format!("{doing} {}", self.at(path)), errno)
    }

    fn top(&self) -> &OpenDir {
        self.stack.last().unwrap_or_else(|| unreachable!("the root stays on the stack"))
    }

    fn top_mut(&mut self) -> &mut OpenDir {
        self.stack.last_mut().unwrap_or_else(|| unreachable!("the root stays on the stack"))
    }

    /// What is left of `path` below the innermost open directory.
    fn rest(&self, path: &[u8]) -> Vec<u8> {
        let rest = path.strip_prefix(self.top().path.as_slice()).unwrap_or(path);
        rest.strip_prefix(b"/").unwrap_or(rest).to_vec()
    }

    fn leave_all_but_ancestors(&mut self, path: &[u8]) -> Result<(), ImageError> {
        while !is_at_or_below(path, &self.top().path) {
            self.pop()?;
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<(), ImageError> {
        let Some(directory) = self.stack.pop() else { return Ok(()) };
        let path = directory.path.clone();
        directory.leave().map_err(|errno| self.failed("set the time of", &path, errno))
    }

    fn push(&mut self, path: Vec<u8>, fd: OwnedFd) -> Result<(), ImageError> {
        if self.stack.len() == STACK {
            self.pop()?;
        }
        let opened = OpenDir::new(path, fd);
        let directory = opened.map_err(|errno| ImageError::io(format!("look at a directory of {}", self.at), errno))?;
        self.stack.push(directory);
        Ok(())
    }

    /// One component after the other, making what is not there.
    fn walk(&mut self, path: &[u8], rest: &[u8]) -> Result<(), ImageError> {
        let mut below = self.top().path.clone();
        for name in rest.split(|byte| *byte == b'/') {
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name);
            let made = self.make_missing(name).map_err(|errno| self.failed("make a directory for", path, errno))?;
            let opened = openat2(self.top(), name, how()).map_err(|errno| self.not_a_directory(path, errno))?;
            if made {
                self.made += 1;
                let mode = Mode::from_bits_truncate(0o755);
                let described = fchmod(&opened, mode).and_then(|()| futimens(&opened, &NEVER, &NEVER));
                described.map_err(|errno| self.failed("make a directory for", path, errno))?;
            }
            self.push(below.clone(), opened)?;
        }
        Ok(())
    }

    /// Makes `name` in the innermost directory unless it is there. A whiteout gives way: below it, the directory is new.
    fn make_missing(&mut self, name: &[u8]) -> nix::Result<bool> {
        let directory = self.top_mut();
        match look(&*directory, name)? {
            Existing::Nothing => {
                directory.will_change();
                mkdirat(&*directory, name, Mode::S_IRWXU)?;
                Ok(true)
            }
            Existing::Whiteout => {
                directory.will_change();
                unlinkat(&*directory, name, UnlinkatFlags::NoRemoveDir)?;
                mkdirat(&*directory, name, Mode::S_IRWXU)?;
                super::whiteout::make_opaque(openat2(&*directory, name, how())?.as_fd())?;
                Ok(true)
            }
            Existing::Directory | Existing::Other => Ok(false),
        }
    }

    fn not_a_directory(&self, path: &[u8], errno: Errno) -> ImageError {
        match errno {
            Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV => {
                ImageError::bad(self.at(path), "it goes through something that is no directory")
            }
            errno => self.failed("open the directory of", path, errno),
        }
    }
}

fn is_at_or_below(path: &[u8], directory: &[u8]) -> bool {
    match path.strip_prefix(directory) {
        Some(rest) => directory.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    }
}

/// How every directory below the root is opened.
pub fn how() -> OpenHow {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    OpenHow::new().flags(flags).resolve(CONFINED)
}

#[cfg(test)]
mod tests {
    use super::is_at_or_below;

    #[test]
    fn below_means_by_component() {
        assert!(is_at_or_below(b"a/b", b"a"));
        assert!(is_at_or_below(b"a", b"a"));
        assert!(is_at_or_below(b"a", b""));
        assert!(!is_at_or_below(b"ab", b"a"));
        assert!(!is_at_or_below(b"a", b"a/b"));
    }
}
