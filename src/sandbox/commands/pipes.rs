//! The pipes of a command, made by the daemon: its own end, what the command gets, and what PID 1 keeps.

use std::io;
use std::os::fd::OwnedFd;

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
