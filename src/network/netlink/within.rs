//! Work in another network namespace.

use std::cell::Cell;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::socket::NetlinkError;

thread_local! {
    static ELSEWHERE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in another network namespace than the process.
pub(super) fn is_elsewhere() -> bool {
    ELSEWHERE.get()
}

/// Does `work` on a thread of its own that has entered the namespace, and that ends with the work: nothing else of this process
/// is ever in there.
///
/// # Errors
/// As `setns(2)`, and those of the work.
pub fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, NetlinkError> + Send,
) -> Result<T, NetlinkError> {
    on_a_thread("setns(network namespace)", || setns(namespace, CloneFlags::CLONE_NEWNET), work)
}

/// Does `work` in a namespace that was made for it and is gone afterwards: nothing of the host's is looked at or changed.
///
/// # Errors
/// As `unshare(2)`, and those of the work.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T, NetlinkError> + Send) -> Result<T, NetlinkError> {
    on_a_thread("unshare(network namespace)", || unshare(CloneFlags::CLONE_NEWNET), work)
}

fn on_a_thread<T: Send>(
    what: &str,
    enter: impl FnOnce() -> nix::Result<()> + Send,
    work: impl FnOnce() -> Result<T, NetlinkError> + Send,
) -> Result<T, NetlinkError> {
    let told = |errno| NetlinkError { what: what.into(), errno };
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("network".into()).spawn_scoped(scope, || {
            enter().map_err(told)?;
            ELSEWHERE.set(true);
            work()
        });
        let worker = worker.map_err(|error| told(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN))))?;
        worker.join().unwrap_or_else(|_| Err(told(Errno::EIO)))
    })
}
