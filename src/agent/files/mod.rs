//! The file servant: a child of PID 1 that has become one user of the sandbox, and does for the daemon what takes a path.
//!
//! It sees what that user sees and may do what that user may do, by the kernel's own rules; a race inside the sandbox can
//! lead it only to other places of the sandbox. Descriptors of regular files go to the daemon, so no content passes
//! through here. It ends when the daemon lets go of the socket.

mod answer;
mod change;
mod failure;
mod link;
mod list;
mod look;
mod open;
mod path;
mod remove;
mod rename;
mod write;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::socket::MsgFlags;

use super::exec::Environment;
use crate::proto::{self, FileReply, FileRequest, MAX_FILE_MESSAGE, Program};
use crate::sys;

use answer::Answer;
use failure::Outcome;
use write::Pending;

/// One user's view.
#[derive(Debug)]
pub struct Servant {
    socket: OwnedFd,
    environment: Environment,
    /// Where relative paths begin.
    base: PathBuf,
    /// What is being written.
    pending: Option<Pending>,
}

impl Servant {
    /// Takes the environment and the working directory of the program; its arguments do not matter.
    #[must_use]
    pub fn new(socket: OwnedFd, program: &Program, home: &str) -> Self {
        let environment = Environment::assemble(program, home, false);
        let base = environment.path(&program.process.cwd).map_or_else(|_| PathBuf::from("/"), PathBuf::from);
        Self { socket, environment, base: PathBuf::from("/").join(base), pending: None }
    }

    /// Answers until nobody asks any more, or who asks makes no sense.
    pub fn serve(mut self) {
        while let Ok(Some(message)) = sys::receive(self.socket.as_fd(), MAX_FILE_MESSAGE, MsgFlags::empty()) {
            let Ok(request) = proto::decode(&message.bytes) else { return };
            let answer = self.answer(request).unwrap_or_else(|failure| FileReply::Failed(failure).into());
            if !answer.send(self.socket.as_fd()) {
                return;
            }
        }
    }

    fn answer(&mut self, request: FileRequest) -> Outcome<Answer> {
        match request {
            FileRequest::Look { path } => look::look(&self.path(&path)?).map(Answer::from),
            FileRequest::Read { path } => open::read(&self.path(&path)?),
            FileRequest::Write { path, permission, in_place } => {
                let path = self.path(&path)?;
                let (pending, answer) = write::begin(&path, &permission, in_place)?;
                self.pending = Some(pending);
                Ok(answer)
            }
            FileRequest::Keep => self.pending.take().map_or(Ok(()), Pending::keep).map(done),
            FileRequest::Discard => {
                self.pending = None;
                Ok(done(()))
            }
            FileRequest::Link { path, target } => link::link(&self.path(&path)?, &target).map(done),
            FileRequest::Remove { path } => remove::file(&self.path(&path)?).map(done),
            FileRequest::RemoveTree { path } => remove::tree(&self.path(&path)?).map(done),
            FileRequest::Move { from, to } => rename::rename(&self.path(&from)?, &self.path(&to)?).map(done),
            FileRequest::MakeDirectory { path, permission } => {
                change::make_directory(&self.path(&path)?, &permission).map(done)
            }
            FileRequest::Change { path, permission } => change::change(&self.path(&path)?, &permission).map(done),
            FileRequest::List { path, depth } => list::list(&self.path(&path)?, depth, self.socket()).map(done),
            FileRequest::Search { path, pattern } => {
                list::search(&self.path(&path)?, &pattern, self.socket()).map(done)
            }
        }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn path(&self, text: &str) -> Outcome<PathBuf> {
        path::absolute(text, &self.environment, &self.base)
    }
}

fn done((): ()) -> Answer {
    FileReply::Done.into()
}

#[cfg(test)]
mod tests;
