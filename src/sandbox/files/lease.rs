//! A servant in use.

use std::fs::File;
use std::sync::Arc;

use super::{FileEntry, FileError, FileRequest, Files, Member, Owner};
use crate::guest::GuestError;
use crate::model::with_causes;
use crate::proto::FileReply;
use crate::sandbox::Inside;

/// A servant for one caller. It goes back to the others when it has answered everything; otherwise it ends, and what was
/// being written is gone.
#[derive(Debug)]
pub struct Lease {
    files: Arc<Files>,
    owner: Option<Owner>,
    inside: Inside,
    member: Option<Member>,
    /// What was asked last, until all answers are there.
    asked: Option<FileRequest>,
    /// Something is being written.
    writes: bool,
}

impl Lease {
    pub(super) fn new(files: Arc<Files>, owner: Owner, inside: Inside, member: Member) -> Self {
        Self { files, owner: Some(owner), inside, member: Some(member), asked: None, writes: false }
    }

    /// Has something done.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn done(&mut self, request: FileRequest) -> Result<(), FileError> {
        let ends_writing = matches!(request, FileRequest::Keep | FileRequest::Discard);
        match self.only(request).await? {
            (FileReply::Done, _) => {
                self.writes &= !ends_writing;
                Ok(())
            }
            _ => Err(self.out_of_turn()),
        }
    }

    /// What is at a path.
    ///
    /// # Errors
    /// When nothing is, or it may not be seen.
    pub async fn look(&mut self, path: &str) -> Result<FileEntry, FileError> {
        match self.only(FileRequest::Look { path: path.to_owned() }).await? {
            (FileReply::Entry(entry), _) => Ok(entry),
            _ => Err(self.out_of_turn()),
        }
    }

    /// A regular file, and its absolute path.
    ///
    /// # Errors
    /// When there is none, or it may not be read or written.
    pub async fn open(&mut self, request: FileRequest) -> Result<(String, File), FileError> {
        let writes = matches!(request, FileRequest::Write { .. });
        match self.only(request).await? {
            (FileReply::Opened { path }, Some(file)) => {
                self.writes |= writes;
                Ok((path, file))
            }
            _ => Err(self.out_of_turn()),
        }
    }

    /// Begins a list; [`next`](Self::next) has its parts.
    ///
    /// # Errors
    /// When the servant is gone.
    pub fn list(&mut self, request: FileRequest) -> Result<(), FileError> {
        self.ask(request)
    }

    /// The next part of a list; `None` at its end.
    ///
    /// # Errors
    /// When the list cannot be made, or ends early.
    pub async fn next(&mut self) -> Result<Option<Vec<FileEntry>>, FileError> {
        match self.hear().await? {
            (FileReply::Entries(entries), _) => Ok(Some(entries)),
            (FileReply::Done, _) => {
                self.asked = None;
                Ok(None)
            }
            _ => Err(self.out_of_turn()),
        }
    }

    /// A request with one answer.
    async fn only(&mut self, request: FileRequest) -> Result<(FileReply, Option<File>), FileError> {
        self.ask(request)?;
        let answer = self.hear().await?;
        self.asked = None;
        Ok(answer)
    }

    fn ask(&mut self, request: FileRequest) -> Result<(), FileError> {
        let Some(member) = &self.member else { return Err(gone()) };
        let asked = member.servant.ask(&request).map_err(|error| FileError::Broken(with_causes(&error)));
        self.asked = Some(request);
        asked
    }

    async fn hear(&mut self) -> Result<(FileReply, Option<File>), FileError> {
        let (Some(member), Some(request)) = (&self.member, &self.asked) else { return Err(gone()) };
        let heard = tokio::select! {
            biased;
            heard = member.servant.hear(request) => heard,
            phase = self.inside.interrupted() => return Err(FileError::NotRunning(phase)),
        };
        match heard {
            Ok((FileReply::Failed(failure), _)) => {
                self.asked = None;
                Err(FileError::Refused(failure))
            }
            Ok(answer) => Ok(answer),
            Err(GuestError::Gone) if self.inside.has_left() => Err(FileError::NotRunning(self.inside.left().await)),
            Err(error) => {
                self.dismiss();
                Err(FileError::Broken(with_causes(&error)))
            }
        }
    }

    fn out_of_turn(&mut self) -> FileError {
        self.dismiss();
        FileError::Broken(with_causes(&GuestError::OutOfTurn))
    }

    /// Ends a servant that cannot be trusted, or does not answer.
    fn dismiss(&mut self) {
        if let Some(member) = self.member.take() {
            drop(member.execution.signal(libc::SIGKILL));
        }
    }
}

fn gone() -> FileError {
    FileError::Broken("it was dismissed".to_owned())
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(owner), Some(member), None, false) =
            (self.owner.take(), self.member.take(), &self.asked, self.writes)
        {
            self.files.put_back(owner, member);
        }
    }
}
