//! What goes back to the daemon.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::MsgFlags;

use crate::proto::{self, FileEntry, FileReply, MAX_FILE_MESSAGE};
use crate::sys;

#[derive(Debug)]
pub struct Answer {
    reply: FileReply,
    file: Option<File>,
}

impl From<FileReply> for Answer {
    fn from(reply: FileReply) -> Self {
        Self { reply, file: None }
    }
}

impl From<FileEntry> for Answer {
    fn from(entry: FileEntry) -> Self {
        FileReply::Entry(entry).into()
    }
}

impl Answer {
    pub fn opened(path: String, file: File) -> Self {
        Self { reply: FileReply::Opened { path }, file: Some(file) }
    }

    /// False when nobody listens any more.
    #[must_use]
    pub fn send(&self, socket: BorrowedFd<'_>) -> bool {
        let fds: Vec<BorrowedFd<'_>> = self.file.iter().map(AsFd::as_fd).collect();
        sys::send(socket, &proto::encode(&self.reply), &fds, MsgFlags::empty()).is_ok()
    }
}

/// Sends a list of any length in messages of a bounded one.
#[derive(Debug)]
pub struct Pages<'a> {
    socket: BorrowedFd<'a>,
    entries: Vec<FileEntry>,
    bytes: usize,
}

impl<'a> Pages<'a> {
    pub fn new(socket: BorrowedFd<'a>) -> Self {
        Self { socket, entries: Vec::new(), bytes: 0 }
    }

    /// False when nobody listens any more.
    #[must_use]
    pub fn push(&mut self, entry: FileEntry) -> bool {
        /// What is around the entries of a message.
        const FRAME: usize = 64;
        let bytes = proto::encode(&entry).len() + 1;
        let room = self.bytes + bytes + FRAME <= MAX_FILE_MESSAGE;
        let sent = room || self.flush();
        self.bytes += bytes;
        self.entries.push(entry);
        sent
    }

    /// Sends what is left.
    #[must_use]
    pub fn flush(&mut self) -> bool {
        self.bytes = 0;
        let entries = std::mem::take(&mut self.entries);
        entries.is_empty() || Answer::from(FileReply::Entries(entries)).send(self.socket)
    }
}
