//! Directories and what is below them.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::answer::Pages;
use super::failure::{Named, Outcome, failure};
use super::look::entry;
use crate::agent::user::Names;
use crate::proto::{FileEntry, FileFailureKind};

/// So many levels deep; links are told of, not followed.
pub fn list(path: &Path, depth: u32, socket: BorrowedFd<'_>) -> Outcome<()> {
    let about = fs::symlink_metadata(path).named("look at", path)?;
    if !about.is_dir() {
        let message = format!("{} is no directory; a link is not followed here", path.display());
        return Err(failure(FileFailureKind::NotADirectory, message));
    }
    let depth = usize::try_from(depth).unwrap_or(usize::MAX);
    walk(path, depth, &|_, _| true, socket)
}

/// Everything but directories whose name fits.
pub fn search(path: &Path, pattern: &str, socket: BorrowedFd<'_>) -> Outcome<()> {
    let about = fs::metadata(path).named("look at", path)?;
    if let Err(error) = fast_glob::validate(pattern) {
        return Err(failure(FileFailureKind::Invalid, format!("the pattern {pattern:?} is none: {error}")));
    }
    let fits =
        |name: &OsString, about: &Metadata| !about.is_dir() && fast_glob::glob_match(pattern, name.as_encoded_bytes());
    if about.is_dir() {
        return walk(path, usize::MAX, &fits, socket);
    }
    let mut pages = Pages::new(socket);
    let told = match path.file_name() {
        Some(name) if fits(&name.to_owned(), &about) => pages.push(entry(path, &about, &Names::read())),
        _ => true,
    };
    heard(told && pages.flush())
}

/// What is left to do of a directory on the way.
struct Level {
    path: PathBuf,
    rest: std::vec::IntoIter<(OsString, Metadata)>,
}

type Fits<'a> = &'a dyn Fn(&OsString, &Metadata) -> bool;

fn walk(path: &Path, depth: usize, fits: Fits<'_>, socket: BorrowedFd<'_>) -> Outcome<()> {
    let (names, mut pages) = (Names::read(), Pages::new(socket));
    let mut levels = Vec::new();
    if depth > 0 {
        levels.push(Level { path: path.to_owned(), rest: sorted(path).named("list", path)? });
    }
    while let Some(level) = levels.last_mut() {
        let Some((name, about)) = level.rest.next() else {
            levels.pop();
            continue;
        };
        let path = level.path.join(&name);
        if fits(&name, &about) && !pages.push(told(&path, &about, &names)) {
            return heard(false);
        }
        // One that cannot be read, or is gone, has nothing to show; as with `find`, the others have.
        if about.is_dir()
            && levels.len() < depth
            && let Ok(rest) = sorted(&path)
        {
            levels.push(Level { path, rest });
        }
    }
    heard(pages.flush())
}

fn told(path: &Path, about: &Metadata, names: &Names) -> FileEntry {
    let link = about.is_symlink().then(|| fs::read_link(path).ok()).flatten();
    FileEntry { target: link.map(|target| target.to_string_lossy().into_owned()), ..entry(path, about, names) }
}

fn sorted(dir: &Path) -> io::Result<std::vec::IntoIter<(OsString, Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // It may have gone since.
        if let Ok(about) = entry.metadata() {
            found.push((entry.file_name(), about));
        }
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(found.into_iter())
}

/// What is said to nobody any more matters to nobody.
fn heard(heard: bool) -> Outcome<()> {
    if heard { Ok(()) } else { Err(failure(FileFailureKind::Other, "nobody listens")) }
}
