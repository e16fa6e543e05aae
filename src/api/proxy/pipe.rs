//! A pipe between two sockets: what is in it are pages of the one that are sent by the other, not copies of them.

use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;

use super::Socket;

/// What is in a pipe at most: as much as the kernel gives without a privilege (`fs.pipe-max-size`).
pub const CAPACITY: usize = 1 << 20;

#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Bytes that are in it.
    filled: usize,
}

impl Pipe {
    pub fn new() -> nix::Result<Self> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // A smaller one does as well.
        fcntl(&into, FcntlArg::F_SETPIPE_SZ(i32::try_from(CAPACITY).unwrap_or(i32::MAX))).unwrap_or_default();
        Ok(Self { out, into, filled: 0 })
    }

    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Takes at most so many bytes of a socket; 0 is its end. Only for a pipe that is empty: of a full one it could not be
    /// told what is to be waited for.
    pub fn poll_fill(&mut self, context: &mut Context<'_>, from: &Socket, most: usize) -> Poll<io::Result<usize>> {
        let take = |from: BorrowedFd<'_>| splice(from, None, &self.into, None, most.min(CAPACITY), flags());
        self.filled = ready!(from.poll(context, Interest::READABLE, take))?;
        Poll::Ready(Ok(self.filled))
    }

    /// Gives at most so many bytes to a socket.
    pub fn poll_drain(&mut self, context: &mut Context<'_>, to: &Socket, most: usize) -> Poll<io::Result<usize>> {
        let most = most.min(self.filled);
        let give = |to: BorrowedFd<'_>| splice(&self.out, None, to, None, most, flags());
        match ready!(to.poll(context, Interest::WRITABLE, give))? {
            0 => Poll::Ready(Err(ErrorKind::WriteZero.into())),
            given => {
                self.filled = self.filled.saturating_sub(given);
                Poll::Ready(Ok(given))
            }
        }
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE
}
