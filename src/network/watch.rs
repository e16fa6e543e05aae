//! A thread that hears of changes to the rules and to the routes of the host, and sets right what they broke.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use super::bridge::Ways;
use super::near::neighbours;
use super::netlink::{Change, Groups, NetlinkError, Protocol, Subscription};
use super::nft::touched;

/// Every sandbox that comes or goes is a dozen changes. After some were heard, so much time is left for more to come, in
/// milliseconds, and they are looked at together.
const TOGETHER: u16 = 20;

#[derive(Debug)]
pub(super) struct Watch {
    /// The thread ends when this is closed.
    open: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// What is heard of.
struct Ears {
    rules: Subscription,
    routes: Subscription,
    end: OwnedFd,
}

impl Watch {
    pub(super) fn start(ways: Arc<Ways>) -> Result<Self, NetlinkError> {
        let failed = |errno| NetlinkError { what: "watch the rules".into(), errno };
        let (end, open) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let rules = Subscription::open(Protocol::Netfilter, Groups::RULES)?;
        let ears = Ears { rules, routes: Subscription::open(Protocol::Route, Groups::ROUTES)?, end };
        let thread = std::thread::Builder::new().name("network watch".into()).spawn(move || run(&ways, &ears));
        let failed = |error: io::Error| failed(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN)));
        Ok(Self { open: Some(open), thread: Some(thread.map_err(failed)?) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.open.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches the rules panicked");
        }
    }
}

fn run(ways: &Ways, ears: &Ears) {
    // What happened before they listened.
    ways.guard();
    loop {
        let mut ready =
            [ears.rules.as_fd(), ears.routes.as_fd(), ears.end.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut ready, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(error) => return tracing::error!(%error, "changes of the rules are noticed later from now on"),
            Ok(_) => {}
        }
        let [rules, routes, end] = ready.map(|one| one.any().unwrap_or(true));
        if end {
            return;
        }
        let foreign = |changes: Vec<Change>| touched(&changes, ways.table_name(), is_own);
        if rules && ears.rules.changes().is_none_or(foreign) {
            ways.guard();
        }
        if routes && ears.routes.changes().is_none_or(|changes| changes.iter().any(|change| concerns(ways, change))) {
            ways.look_around();
        }
        // Ends early with the daemon.
        let _ = poll(&mut [PollFd::new(ears.end.as_fd(), PollFlags::POLLIN)], TOGETHER);
    }
}

/// Whether it is a thread of this process.
fn is_own(thread: u32) -> bool {
    Path::new("/proc/self/task").join(thread.to_string()).exists()
}

fn concerns(ways: &Ways, change: &Change) -> bool {
    neighbours(&change.body).is_some_and(|net| !ways.is_ours(&net))
}
