//! Why something was not done.

use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::proto::{FileFailure, FileFailureKind};

pub type Outcome<T> = Result<T, FileFailure>;

pub fn failure(kind: FileFailureKind, message: impl Into<String>) -> FileFailure {
    FileFailure { kind, message: message.into().chars().take(1024).collect() }
}

pub trait Named<T> {
    /// Says which call on which path it was.
    fn named(self, call: &str, path: &Path) -> Outcome<T>;
}

impl<T, E: Into<io::Error>> Named<T> for Result<T, E> {
    fn named(self, call: &str, path: &Path) -> Outcome<T> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let errno = error.raw_os_error().map(Errno::from_raw);
            let words = errno.map_or_else(|| error.to_string(), |errno| errno.desc().to_owned());
            failure(kind_of(errno), format!("{call} {}: {words}", path.display()))
        })
    }
}

fn kind_of(errno: Option<Errno>) -> FileFailureKind {
    match errno {
        Some(Errno::ENOENT) => FileFailureKind::NotFound,
        Some(Errno::EEXIST | Errno::ENOTEMPTY) => FileFailureKind::Exists,
        Some(Errno::EISDIR) => FileFailureKind::Directory,
        Some(Errno::ENOTDIR) => FileFailureKind::NotADirectory,
        // A FIFO without a reader, a socket, a device of nobody.
        Some(Errno::ENXIO | Errno::ENODEV) => FileFailureKind::NotAFile,
        Some(Errno::EINVAL | Errno::ENAMETOOLONG) => FileFailureKind::Invalid,
        _ => FileFailureKind::Other,
    }
}
