//! An OCI layout directory.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use super::section::Section;
use crate::image::ImageError;

#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = openat(AT_FDCWD, path, flags, Mode::empty());
        let fd = opened.map_err(|errno| ImageError::io(format!("open {}", path.display()), errno))?;
        let directory = Self { fd, path: path.to_owned() };
        match directory.section("index.json") {
            Err(ImageError::Bad { .. }) => {
                let problem = "it is a directory without index.json, so not an OCI layout; hand over a root as a tar";
                Err(ImageError::bad(path.display().to_string(), problem))
            }
            other => other.map(|_| directory),
        }
    }

    /// A regular file below the directory. Links are refused: whoever made the layout may not be allowed to read what
    /// they lead to. A fifo would be opened without waiting, and then refused.
    pub fn section(&self, path: &str) -> Result<Section, ImageError> {
        let shown = || self.path.join(path).display().to_string();
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let resolve =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let opened = openat2(&self.fd, path, OpenHow::new().flags(flags).resolve(resolve));
        let file = File::from(opened.map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR => ImageError::bad(shown(), "it is not there"),
            Errno::ELOOP | Errno::EXDEV => ImageError::bad(shown(), "links in a layout are not followed"),
            errno => ImageError::io(format!("open {}", shown()), errno),
        })?);
        let metadata = file.metadata().map_err(|error| ImageError::io(format!("look at {}", shown()), error))?;
        if !metadata.is_file() {
            return Err(ImageError::bad(shown(), "it is no regular file"));
        }
        Section::whole(Arc::new(file))
    }
}
