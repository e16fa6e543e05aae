//! Where output comes from: a pipe, or a terminal through a pipe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::tape::Tape;
use crate::sandbox::commands::Stream;
use crate::sys;

/// Bytes moved at a time: the default capacity of a pipe.
const CHUNK: usize = 64 << 10;

/// Not more, so that who waits for its reader waits in time.
const AT_A_TIME: usize = 256 << 10;

/// A clone reads the same.
#[derive(Debug, Clone)]
pub struct Source {
    pub stream: Stream,
    fd: Arc<AsyncFd<OwnedFd>>,
    /// What is read from a terminal passes through this pipe, whose ends PID 1 keeps as well: a daemon that dies between
    /// reading and writing takes nothing with it.
    through: Option<Arc<(OwnedFd, OwnedFd)>>,
}

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, and there may be more.
    Some(usize),
    /// There is nothing now.
    Nothing,
    /// There will be nothing any more.
    End,
}

impl Source {
    pub fn pipe(stream: Stream, fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { stream, fd: Arc::new(sys::watch(fd)?), through: None })
    }

    pub fn terminal(master: Arc<AsyncFd<OwnedFd>>, out: OwnedFd, into: OwnedFd) -> Self {
        Self { stream: Stream::Stdout, fd: master, through: Some(Arc::new((out, into))) }
    }

    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.fd.readable().await
    }

    /// Moves what is there to the tape, as far as it is not too much at a time.
    pub async fn take(&self, tape: &Arc<Tape>) -> io::Result<Moved> {
        let (source, tape) = (self.clone(), Arc::clone(tape));
        let moved = tokio::task::spawn_blocking(move || source.take_all(&tape)).await;
        match moved.unwrap_or_else(|lost| Err(io::Error::other(lost))) {
            Ok(0) => Ok(Moved::End),
            Ok(moved) => Ok(Moved::Some(moved)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Moved::Some(0)),
            Err(error) => Err(error),
        }
    }

    /// A terminal gives little at a time.
    fn take_all(&self, tape: &Tape) -> io::Result<usize> {
        let mut all = self.take_now(tape)?;
        while (1..AT_A_TIME).contains(&all) {
            match self.take_now(tape) {
                Ok(more @ 1..) => all += more,
                // It is seen again the next time.
                _ => break,
            }
        }
        Ok(all)
    }

    fn take_now(&self, tape: &Tape) -> io::Result<usize> {
        let Some(through) = &self.through else { return tape.take(self.fd.as_fd(), self.stream) };
        let (out, into) = &**through;
        // What a daemon before us has left there.
        match tape.take(out.as_fd(), self.stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            left => return left,
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(&*self.fd, None, into, None, CHUNK, flags) {
            // Nobody has the other side open any more.
            Ok(0) | Err(Errno::EIO) => Ok(0),
            Ok(_) => tape.take(out.as_fd(), self.stream),
            Err(errno) => Err(errno.into()),
        }
    }
}
