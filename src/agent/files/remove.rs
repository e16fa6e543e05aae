//! Removing.

use std::fs;
use std::io;
use std::path::Path;

use super::failure::{Named, Outcome, failure};
use crate::proto::FileFailureKind;

/// Whatever is no directory; nothing is there is as good.
pub fn file(path: &Path) -> Outcome<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => {
            Err(failure(FileFailureKind::Directory, format!("{} is a directory", path.display())))
        }
        Ok(_) => missing_is_fine(fs::remove_file(path)).named("remove", path),
        other => missing_is_fine(other.map(drop)).named("remove", path),
    }
}

/// A directory with all that is in it; links in it are removed, not followed.
pub fn tree(path: &Path) -> Outcome<()> {
    // Whatever is written with `..` is judged by where it leads, before anything below it is touched.
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if climbs || path.parent().is_none() || is_root(path) {
        let message = "/ is not removed, nor a path with .. in it; name the directory itself";
        return Err(failure(FileFailureKind::Invalid, message));
    }
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => missing_is_fine(fs::remove_dir_all(path)).named("remove", path),
        Ok(_) => missing_is_fine(fs::remove_file(path)).named("remove", path),
        other => missing_is_fine(other.map(drop)).named("remove", path),
    }
}

fn is_root(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino()));
    match (place(path), place(Path::new("/"))) {
        (Ok(here), Ok(root)) => here == root,
        _ => false,
    }
}

fn missing_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(()),
        other => other,
    }
}
