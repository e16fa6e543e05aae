//! From what was asked for to a path, and from a path to descriptors.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::Mode;

use super::failure::{Named, Outcome, failure};
use crate::agent::exec::Environment;
use crate::proto::{FileFailureKind, PATH_BYTES};

/// As many links as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Replaces variables, and puts the base before a relative path. `..` stays, for the kernel to resolve.
pub fn absolute(text: &str, environment: &Environment, base: &Path) -> Outcome<PathBuf> {
    let invalid = |message: String| failure(FileFailureKind::Invalid, message);
    if text.is_empty() || text.contains('\0') {
        return Err(invalid("the path is empty, or has a NUL byte in it".to_owned()));
    }
    let expanded = environment.path(text).map_err(invalid)?;
    if expanded.len() >= PATH_BYTES {
        return Err(invalid(format!("the path is longer than {} bytes", PATH_BYTES - 1)));
    }
    Ok(base.join(expanded).components().collect())
}

/// Opens without following the links of proc that lead to open files.
pub fn open(path: &Path, flags: OFlag) -> nix::Result<File> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how).map(File::from)
}

/// Opens a new file in a directory; nothing must be there.
pub fn create(dir: &File, name: &str) -> nix::Result<File> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR);
    openat2(dir, name, how).map(File::from)
}

/// What a path names, in the directory where it is.
#[derive(Debug)]
pub struct Spot {
    pub dir: File,
    pub name: OsString,
    pub path: PathBuf,
}

impl Spot {
    /// The last part is not looked at.
    pub fn of(path: &Path) -> Outcome<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failure(FileFailureKind::Invalid, format!("{} is no name in a directory", path.display())));
        };
        let dir = open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY).named("open", parent)?;
        Ok(Self { dir, name: name.to_owned(), path: path.to_owned() })
    }

    /// The last part is followed as far as it is a link; it may lead to where nothing is.
    pub fn followed(path: &Path) -> Outcome<Self> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let spot = Self::of(&path)?;
            match readlinkat(&spot.dir, spot.name.as_os_str()) {
                Ok(target) => path = path.parent().unwrap_or(&path).join(target).components().collect(),
                Err(Errno::EINVAL | Errno::ENOENT) => return Ok(spot),
                Err(error) => return Err(error).named("read the link", &path),
            }
        }
        Err(Errno::ELOOP).named("follow", &path)
    }
}
