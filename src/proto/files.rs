//! Daemon and file servant: a small process inside the sandbox that resolves paths and opens files with the rights of one
//! user, so that the daemon never looks up a path of a sandbox.

use serde::{Deserialize, Serialize};

/// The largest message in either direction: two paths fit it however they are escaped.
pub const MAX_FILE_MESSAGE: usize = 64 * 1024;

/// The longest path that is asked for (`PATH_MAX`).
pub const PATH_BYTES: usize = 4096;

/// Paths may be relative to the working directory, and may hold `~` at their start, `$NAME`, `${NAME}`, and `${$}` for a
/// plain `$`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileRequest {
    /// What is at a path; a link is not followed. Answered by [`FileReply::Entry`].
    Look { path: String },
    /// Open a regular file for reading: [`FileReply::Opened`], with its descriptor.
    Read { path: String },
    /// Make a regular file ready to be written: [`FileReply::Opened`], with a descriptor for what is to be written. What
    /// was at the path stays there until [`Keep`](Self::Keep), where that can be done.
    /// Where it cannot, the file is written in place, if that is allowed.
    Write { path: String, permission: Permission, in_place: bool },
    /// What was written is complete: it takes its place.
    Keep,
    /// It is not wanted.
    Discard,
    /// Make a symbolic link, in place of whatever is no directory.
    Link { path: String, target: String },
    /// Remove whatever is no directory; nothing when nothing is there.
    Remove { path: String },
    /// Remove a directory and all that is in it; nothing when nothing is there.
    RemoveTree { path: String },
    /// Move to a path where nothing is. Directories on the way to it are made.
    Move { from: String, to: String },
    /// Make a directory and those on the way to it. The permission is for one that was not there.
    MakeDirectory { path: String, permission: Permission },
    /// Change owner, group and mode; a link is followed.
    Change { path: String, permission: Permission },
    /// What is below a directory, so many levels deep, each directory in the order of its names:
    /// [`FileReply::Entries`], any number of times, then [`FileReply::Done`].
    List { path: String, depth: u32 },
    /// Whatever is no directory, at any depth below a path, and has a name that fits the pattern; answered as a list.
    Search { path: String, pattern: String },
}

/// `None` leaves it as it is, or as it comes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// By name, or else by number.
    pub owner: Option<String>,
    pub group: Option<String>,
    /// At most 0o7777.
    pub mode: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileReply {
    Done,
    Entry(FileEntry),
    /// With one descriptor. The path is the one that was asked for, absolute.
    Opened {
        path: String,
    },
    /// A part of a list.
    Entries(Vec<FileEntry>),
    Failed(FileFailure),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Absolute. What is not UTF-8 in it is replaced.
    pub path: String,
    pub kind: FileKind,
    pub size: u64,
    pub modified: FileTime,
    pub created: FileTime,
    /// Names, or numbers where there is no name.
    pub owner: String,
    pub group: String,
    pub mode: u32,
    /// Of a symbolic link.
    pub target: Option<String>,
}

/// Seconds and nanoseconds of the Unix epoch, as the file system has them: any second there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTime {
    pub seconds: i64,
    pub nanos: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    /// A device, a FIFO, a socket.
    Other,
}

/// Why something was not done, in words for the user that begin with the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFailure {
    pub kind: FileFailureKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFailureKind {
    NotFound,
    /// Something stands in the way.
    Exists,
    /// It is a directory.
    Directory,
    /// It is no directory.
    NotADirectory,
    /// It is neither a regular file nor a directory, or a file of the kernel.
    NotAFile,
    /// The request makes no sense.
    Invalid,
    Other,
}
