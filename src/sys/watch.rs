//! Descriptors in the event loop.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor for becoming readable; must run within the runtime.
pub fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stands for one open descriptor, always the same, until it is dropped, and `AsyncFd`
    // deregisters it before that.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(|refused| refused.into_parts().1)
}

/// Has the runtime watch a descriptor for reading and writing, which must not block.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as above.
    let watched = unsafe { AsyncFd::register(fd) };
    Ok(watched?)
}
