//! The pipes of a command, made by the daemon: its own end, what the command gets, and what PID 1 keeps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::pipe2;
use tokio::net::unix::pipe;

/// A pipe that a command writes.
#[derive(Debug)]
pub struct Pipe {
    pub ours: pipe::Receiver,
    pub theirs: OwnedFd,
    pub kept: OwnedFd,
}

/// Must run within the runtime.
pub fn output() -> io::Result<Pipe> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    // Whoever is inside may open the writing end by name, as `/dev/stdout`, and nobody the reading end: the pipe belongs
    // to an id that is mapped to nobody there.
    fchmod(&theirs, Mode::from_bits_truncate(0o222))?;
    let kept = ours.try_clone()?;
    Ok(Pipe { ours: receiver(ours)?, theirs, kept })
}

/// A pipe that a command reads.
#[derive(Debug)]
pub struct InputPipe {
    pub ours: OwnedFd,
    pub theirs: OwnedFd,
    pub kept: OwnedFd,
}

/// The writing ends do not block.
pub fn input() -> io::Result<InputPipe> {
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
    // Whoever is inside may open the reading end by name, as `/dev/stdin`, and nobody the writing end.
    fchmod(&theirs, Mode::from_bits_truncate(0o444))?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let kept = ours.try_clone()?;
    Ok(InputPipe { ours, theirs, kept })
}

/// The reading end of a pipe, as PID 1 kept it or as it was made.
pub fn receiver(fd: OwnedFd) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(fd)
}

/// Reads what is in the pipe right now. The runtime may not have heard of it yet, and its own attempt would say that there
/// is nothing.
pub fn read_now(pipe: &pipe::Receiver, buffer: &mut [u8]) -> io::Result<usize> {
    match nix::unistd::read(pipe.as_fd(), buffer) {
        // This attempt tells the runtime that it is empty.
        Err(Errno::EAGAIN) => pipe.try_read(buffer),
        read => Ok(read?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_runtime_has_not_heard_of_is_read() {
        let pipe = output().expect("a pipe");
        let mut buffer = [0; 8];
        let empty = read_now(&pipe.ours, &mut buffer).expect_err("empty");
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        // There was no turn of the runtime in between.
        nix::unistd::write(&pipe.theirs, b"now").expect("written");
        assert_eq!(read_now(&pipe.ours, &mut buffer).expect("read"), 3);
        drop(pipe.theirs);
        assert_eq!(read_now(&pipe.ours, &mut buffer).expect("the end"), 0);
    }
}
