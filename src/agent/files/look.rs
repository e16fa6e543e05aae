//! What is at a path.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use nix::fcntl::{OFlag, readlinkat};

use super::failure::{Named, Outcome};
use super::path;
use crate::agent::user::Names;
use crate::proto::{FileEntry, FileKind, FileTime};

/// A link is told of, not followed.
pub fn look(path: &Path) -> Outcome<FileEntry> {
    let file = path::open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).named("look at", path)?;
    let about = file.metadata().named("look at", path)?;
    let target = about.is_symlink().then(|| target(&file)).flatten();
    Ok(FileEntry { target, ..entry(path, &about, &Names::read()) })
}

fn target(link: &File) -> Option<String> {
    readlinkat(link, "").ok().map(|target| target.to_string_lossy().into_owned())
}

/// Without the target of a link.
pub fn entry(path: &Path, about: &Metadata, names: &Names) -> FileEntry {
    FileEntry {
        path: path.to_string_lossy().into_owned(),
        kind: kind(about),
        size: about.len(),
        modified: FileTime { seconds: about.mtime(), nanos: nanos(about.mtime_nsec()) },
        created: created(about),
        owner: names.user(about.uid()),
        group: names.group(about.gid()),
        mode: about.mode() & 0o7777,
        target: None,
    }
}

pub fn kind(about: &Metadata) -> FileKind {
    let kind = about.file_type();
    if kind.is_symlink() {
        FileKind::Symlink
    } else if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        FileKind::Other
    } else {
        FileKind::File
    }
}

/// The birth of the file, or the last change of its inode where the file system does not know that.
fn created(about: &Metadata) -> FileTime {
    let born = about.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    match born.and_then(|born| Some((i64::try_from(born.as_secs()).ok()?, born.subsec_nanos()))) {
        Some((seconds, nanos)) => FileTime { seconds, nanos },
        None => FileTime { seconds: about.ctime(), nanos: nanos(about.ctime_nsec()) },
    }
}

fn nanos(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(0).min(999_999_999)
}
