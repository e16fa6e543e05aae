//! The daemon's side of PID 1: its control socket and its pidfd.
//!
//! Floor 2. PID 1 stands on the attacker's side of the wall. Of what it sends, only a few facts are taken: that it
//! is ready, why it is not, its nonce, how the entrypoint and other processes ended; everything is bounded in size, and a
//! word out of turn ends the conversation. A descriptor that comes from it may be anything.

mod descriptor;
mod execs;
mod servant;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::model::Exit;
use crate::proto::{self, Command, MAX_CONTROL_BYTES, Report, StepFailure};
use crate::sys::{self, SyscallError};

pub use execs::{Begun, Ended};
pub use servant::Servant;

/// How long a launch may take; what takes longer hangs.
const LAUNCH_DEADLINE: Duration = Duration::from_secs(30);
/// How long PID 1 may take to say who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum GuestError {
    #[error(transparent)]
    Step(#[from] StepFailure),
    #[error("talk to PID 1: {0}")]
    Call(#[from] SyscallError),
    #[error("watch PID 1: {0}")]
    Watch(#[from] io::Error),
    #[error("hear from the sandbox: it ended without a word")]
    Gone,
    #[error("ask the sandbox: the daemon is ending")]
    Left,
    #[error("hear from the sandbox: nothing in {0:?}")]
    Deadline(Duration),
    #[error("trust the sandbox: it sent something out of turn")]
    OutOfTurn,
    #[error("trust the sandbox: it handed out a descriptor of another kind")]
    WrongDescriptor,
    #[error("trust PID 1: it is not the process that was recorded ({0})")]
    Imposter(&'static str),
}

/// A sandbox's PID 1.
#[derive(Debug)]
pub struct Guest {
    pidfd: OwnedFd,
    control: AsyncFd<OwnedFd>,
    /// What PID 1 was asked to say while it was frozen.
    expected_nonce: OnceLock<String>,
    /// How the entrypoint ended; `Some(None)` when PID 1 is gone without having said so.
    exit: watch::Sender<Option<Option<Exit>>>,
    execs: execs::Execs,
    /// Nothing is asked of it any more.
    left: AtomicBool,
}

impl Guest {
    /// Takes what the launcher handed out; must run within the runtime.
    pub fn new(pidfd: OwnedFd, control: OwnedFd) -> Result<Self, GuestError> {
        Ok(Self {
            pidfd,
            control: sys::watch_readable(control)?,
            expected_nonce: OnceLock::new(),
            exit: watch::Sender::new(None),
            execs: execs::Execs::default(),
            left: AtomicBool::new(false),
        })
    }

    /// Resolves once the entrypoint has been executed, or with the step that failed.
    pub async fn ready(&self) -> Result<(), GuestError> {
        match within(LAUNCH_DEADLINE, self.report()).await?.0 {
            Report::Ready => Ok(()),
            Report::Failed(failure) => Err(failure.into()),
            _ => Err(GuestError::OutOfTurn),
        }
    }

    /// Asks PID 1 for its nonce and compares. Reports that an earlier daemon has not read are passed over, except for
    /// the end of the entrypoint, which PID 1 repeats after its nonce.
    pub async fn prove(&self, nonce: &str) -> Result<(), GuestError> {
        self.command(&Command::Hello)?;
        within(HELLO_DEADLINE, self.hear_nonce(nonce)).await
    }

    async fn hear_nonce(&self, nonce: &str) -> Result<(), GuestError> {
        loop {
            match self.report().await?.0 {
                Report::Hello { nonce: found } if found == nonce => return Ok(()),
                Report::Hello { .. } => return Err(GuestError::Imposter("another nonce")),
                Report::Failed(failure) => return Err(failure.into()),
                // What is known of executions is asked for afterwards.
                _ => {}
            }
        }
    }

    /// As [`prove`](Self::prove) for a PID 1 that is frozen and cannot answer yet: a wrong answer counts as its end.
    pub fn prove_later(&self, nonce: &str) -> Result<(), GuestError> {
        self.expected_nonce.get_or_init(|| nonce.to_owned());
        match self.command(&Command::Hello) {
            // Many daemons have asked since it was frozen; it will answer those.
            Err(GuestError::Call(error)) if error.errno == Errno::EAGAIN => Ok(()),
            other => other,
        }
    }

    /// Resolves with how the entrypoint ended; `None` when PID 1 is gone without having said so. Only once it is being
    /// [listened](Self::listen) to.
    pub async fn ended(&self) -> Option<Exit> {
        self.exit.subscribe().wait_for(Option::is_some).await.ok().and_then(|exit| exit.flatten())
    }

    /// Sends a signal to the entrypoint.
    pub fn signal(&self, signal: i32) -> Result<(), GuestError> {
        self.command(&Command::Signal(signal))
    }

    /// Tells PID 1 how far the entrypoint's output was seen.
    pub fn seen_output(&self, offset: u64) -> Result<(), GuestError> {
        self.command(&Command::Seen { offset })
    }

    /// Kills PID 1, and with it everything in its PID namespace; harmless when it is gone.
    pub fn kill(&self) -> Result<(), GuestError> {
        match sys::pidfd_signal(self.pidfd.as_fd(), libc::SIGKILL) {
            Err(error) if error.errno != Errno::ESRCH => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Asks nothing of PID 1 from now on. The runtime of a daemon that ends takes its tasks apart in any order, and to one
    /// of them the end of another looks like the end of a process: it must not have PID 1 let go of what is kept for the
    /// next daemon.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// PID 1 itself, whatever becomes of its number.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn command(&self, command: &Command) -> Result<(), GuestError> {
        self.command_with(command, &[])
    }

    fn command_with(&self, command: &Command, fds: &[BorrowedFd<'_>]) -> Result<(), GuestError> {
        if self.left.load(Ordering::Relaxed) {
            return Err(GuestError::Left);
        }
        Ok(sys::send(self.control.as_fd(), &proto::encode(command), fds, MsgFlags::MSG_DONTWAIT)?)
    }

    /// The next report. A closed socket means that PID 1 has ended: it holds the other end for life.
    async fn report(&self) -> Result<(Report, Vec<OwnedFd>), GuestError> {
        loop {
            // A storm of reports must not keep a thread of the runtime for itself.
            tokio::task::coop::consume_budget().await;
            let mut ready = self.control.readable().await?;
            match sys::receive(self.control.as_fd(), MAX_CONTROL_BYTES, MsgFlags::MSG_DONTWAIT) {
                Ok(Some(message)) => {
                    let report = proto::decode(&message.bytes).map_err(|_| GuestError::OutOfTurn)?;
                    return Ok((report, message.fds));
                }
                Ok(None) => return Err(GuestError::Gone),
                Err(error) if error.errno == Errno::EAGAIN => ready.clear_ready(),
                Err(error) if error.errno == Errno::ECONNRESET => return Err(GuestError::Gone),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

async fn within<T>(deadline: Duration, answer: impl Future<Output = Result<T, GuestError>>) -> Result<T, GuestError> {
    tokio::time::timeout(deadline, answer).await.unwrap_or(Err(GuestError::Deadline(deadline)))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::unistd::Pid;

    use super::*;
    use crate::model::ExecId;

    /// A guest whose PID 1 is this process, and the end of the socket that PID 1 would have.
    fn guest() -> (Guest, OwnedFd) {
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = pair.expect("a socket pair");
        let pidfd = sys::pidfd_open(Pid::this()).expect("a pidfd");
        (Guest::new(pidfd, ours).expect("a guest"), theirs)
    }

    fn say(socket: &OwnedFd, report: &Report) -> sys::Result<()> {
        sys::send(socket.as_fd(), &proto::encode(report), &[], MsgFlags::empty())
    }

    #[tokio::test]
    async fn only_the_right_nonce_proves_and_old_reports_are_passed_over() {
        let (guest, pid_1) = guest();
        say(&pid_1, &Report::Ready).expect("said");
        say(&pid_1, &Report::Hello { nonce: "right".to_owned() }).expect("said");
        guest.prove("right").await.expect("proved");
        say(&pid_1, &Report::Hello { nonce: "wrong".to_owned() }).expect("said");
        assert!(matches!(guest.prove("right").await, Err(GuestError::Imposter(_))));
    }

    #[tokio::test]
    async fn a_storm_of_reports_neither_proves_nor_holds_up_the_daemon() {
        let (guest, pid_1) = guest();
        let storm = std::thread::spawn(move || while say(&pid_1, &Report::Ready).is_ok() {});
        let proved = tokio::time::timeout(Duration::from_millis(200), guest.prove("right")).await;
        assert!(proved.is_err(), "the timer had its turn");
        drop(guest);
        storm.join().expect("it ends when nobody listens");
    }

    #[tokio::test]
    async fn nothing_is_asked_of_one_that_was_left() {
        let (guest, pid_1) = guest();
        let id = ExecId::random();
        guest.release(&id).expect("asked");
        guest.leave();
        assert!(matches!(guest.release(&id), Err(GuestError::Left)));
        assert!(matches!(guest.signal_exec(&id, libc::SIGKILL), Err(GuestError::Left)));
        assert!(matches!(guest.forget(&id), Err(GuestError::Left)));
        drop(guest);
        let heard = || sys::receive(pid_1.as_fd(), MAX_CONTROL_BYTES, MsgFlags::empty()).expect("heard");
        assert!(heard().is_some_and(|message| message.bytes == proto::encode(&Command::Release { id: id.clone() })));
        assert!(heard().is_none(), "the end of the conversation comes next");
    }

    #[tokio::test]
    async fn a_frozen_pid_1_may_be_asked_any_number_of_times() {
        let (guest, _pid_1) = guest();
        for _ in 0..2000 {
            guest.prove_later("right").expect("asked");
        }
    }
}
