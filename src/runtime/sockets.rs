//! Sockets in a sandbox's network namespace, made by the daemon.
//!
//! A socket belongs for ever to the namespace in which it was made (`network_namespaces(7)`), so one thread enters the
//! sandbox's, makes the socket, and comes back; whoever uses the socket need not go anywhere. The sandbox needs no network
//! and no program for that, and no address of it means anything outside.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::sync::{mpsc, oneshot};

/// Orders that wait for the thread; each takes some microseconds.
const WAITING: usize = 64;

#[derive(Debug)]
struct Order {
    /// PID 1 of the sandbox.
    pidfd: OwnedFd,
    family: AddressFamily,
    reply: oneshot::Sender<io::Result<OwnedFd>>,
}

/// Makes sockets, with a thread of its own.
#[derive(Debug)]
pub struct Sockets {
    orders: Mutex<mpsc::Sender<Order>>,
}

impl Sockets {
    /// # Errors
    /// When the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        Ok(Self { orders: Mutex::new(thread()?) })
    }

    /// A stream socket that does not block, in the network namespace of this process.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended; what the kernel says of the socket.
    pub async fn make(&self, pidfd: OwnedFd, family: AddressFamily) -> io::Result<OwnedFd> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| io::Error::other("the thread that makes sockets in sandboxes has ended");
        self.thread()?.send(Order { pidfd, family, reply }).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    /// The way to the thread; to a new one when the last could not come back from where it was.
    fn thread(&self) -> io::Result<mpsc::Sender<Order>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.is_closed() {
            *orders = thread()?;
        }
        Ok(orders.clone())
    }
}

fn thread() -> io::Result<mpsc::Sender<Order>> {
    let (sender, orders) = mpsc::channel(WAITING);
    let home = File::open("/proc/thread-self/ns/net")?;
    std::thread::Builder::new().name("sockets".into()).spawn(move || serve(&home, orders))?;
    Ok(sender)
}

fn serve(home: &File, mut orders: mpsc::Receiver<Order>) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    while let Some(Order { pidfd, family, reply }) = orders.blocking_recv() {
        let entered = setns(&pidfd, CloneFlags::CLONE_NEWNET);
        let made = entered.and_then(|()| socket(family, SockType::Stream, flags, None)).map_err(io::Error::from);
        let back = if entered.is_ok() { setns(home, CloneFlags::CLONE_NEWNET) } else { Ok(()) };
        // Whoever asked may have left.
        drop(reply.send(made));
        if let Err(error) = back {
            // From here nothing may be made any more: it would be in the wrong place.
            tracing::error!(%error, "the thread that makes sockets in sandboxes did not come back from one");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::trial;

    /// In the namespace of the test itself, which takes root to enter anew.
    #[tokio::test]
    async fn sockets_are_made_where_a_process_is() {
        if !trial::has_root() {
            return;
        }
        let sockets = Sockets::start().expect("started");
        let own = || crate::sys::pidfd_open(Pid::this()).expect("a pidfd");
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            sockets.make(own(), family).await.expect("made");
        }
        let mut child = std::process::Command::new("true").spawn().expect("started");
        let pidfd = crate::sys::pidfd_open(Pid::from_raw(child.id().cast_signed())).expect("a pidfd");
        child.wait().expect("ended");
        let error = sockets.make(pidfd, AddressFamily::Inet).await.expect_err("gone");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
