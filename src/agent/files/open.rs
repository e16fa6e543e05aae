//! A regular file for reading.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::OFlag;

use super::answer::Answer;
use super::failure::{Named, Outcome, failure};
use super::path;
use crate::proto::FileFailureKind;
use crate::sys;

pub fn read(path: &Path) -> Outcome<Answer> {
    // Whatever it is, nobody waits for it.
    let file = path::open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).named("open", path)?;
    check(&file, path)?;
    Ok(Answer::opened(path.to_string_lossy().into_owned(), file))
}

/// A file with content of its own.
pub fn check(file: &File, path: &Path) -> Outcome<()> {
    let about = file.metadata().named("look at", path)?;
    if about.is_dir() {
        return Err(failure(FileFailureKind::Directory, format!("{} is a directory", path.display())));
    }
    if !about.is_file() || sys::is_of_kernel(file.as_fd()) {
        let message = format!("{} is no regular file, or one of the kernel", path.display());
        return Err(failure(FileFailureKind::NotAFile, message));
    }
    Ok(())
}
