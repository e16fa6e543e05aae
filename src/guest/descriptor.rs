//! Descriptors that come out of a sandbox: they may be anything, and none may make the daemon wait.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat, makedev};

use super::GuestError;
use crate::sys;

/// The device number of every terminal's master (`Documentation/admin-guide/devices.txt`).
const MULTIPLEXER: (u64, u64) = (5, 2);

/// The master of a terminal, made not to block.
pub fn check_terminal(fd: Option<OwnedFd>) -> Result<Option<OwnedFd>, GuestError> {
    fd.map(|fd| if is_terminal(&fd) && unblock(&fd) { Ok(fd) } else { Err(GuestError::WrongDescriptor) }).transpose()
}

/// Pipes, sockets and masters of terminals, made not to block; empty when one is anything else.
pub fn check_all(fds: Vec<OwnedFd>) -> Vec<OwnedFd> {
    if fds.iter().all(|fd| (is_stream(fd) || is_terminal(fd)) && unblock(fd)) { fds } else { Vec::new() }
}

/// A regular file that can be read or written, and is none of the kernel's: then nothing that is done with it waits for
/// anybody inside.
pub fn check_file(fd: OwnedFd) -> Result<File, GuestError> {
    let regular = fstat(&fd).is_ok_and(|found| {
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        kind == SFlag::S_IFREG
    });
    let flags = fcntl(&fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    let usable = flags.is_ok_and(|flags| !flags.intersects(OFlag::O_PATH | OFlag::O_APPEND));
    if regular && usable && !sys::is_of_kernel(fd.as_fd()) {
        Ok(File::from(fd))
    } else {
        Err(GuestError::WrongDescriptor)
    }
}

fn is_stream(fd: &OwnedFd) -> bool {
    let kind = fstat(fd).map(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT);
    kind.is_ok_and(|kind| kind == SFlag::S_IFIFO || kind == SFlag::S_IFSOCK)
}

fn is_terminal(fd: &OwnedFd) -> bool {
    fstat(fd).is_ok_and(|found| {
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        kind == SFlag::S_IFCHR && found.st_rdev == makedev(MULTIPLEXER.0, MULTIPLEXER.1)
    })
}

fn unblock(fd: &OwnedFd) -> bool {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_stream_is_refused_with_all_that_came_along() {
        let (ours, theirs) = nix::unistd::pipe().expect("a pipe");
        assert_eq!(check_all(vec![ours, theirs]).len(), 2);
        let (ours, _theirs) = nix::unistd::pipe().expect("a pipe");
        let zero = OwnedFd::from(std::fs::File::open("/dev/zero").expect("a device"));
        assert!(check_terminal(Some(zero.try_clone().expect("a copy"))).is_err());
        assert!(check_all(vec![ours, zero]).is_empty());
        let memory = sys::memfd(c"x", b"").expect("a file");
        assert!(check_all(vec![memory]).is_empty());
    }
}
