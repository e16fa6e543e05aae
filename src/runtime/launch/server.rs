//! The launcher's loop: requests of the daemon, and children that ended.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, accept4, socketpair};
use nix::unistd::setsid;

use super::held::{Held, Sandbox};
use super::room;
use crate::agent::{self, Inheritance, Named, Step};
use crate::model::SandboxId;
use crate::proto::{self, FailureKind, LAUNCH_FDS, LauncherReply, LauncherRequest, MAX_LAUNCHER_BYTES, StepFailure};
use crate::sys::{self, CloneTarget, Cloned, Instruction, Message, Patience, SingleThreaded};

/// Everything but the user namespace and the network namespace, which are prepared ahead and entered, and the cgroup
/// namespace, which only makes sense once the workload is in its cgroups.
const NAMESPACES: u64 =
    (libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS).cast_unsigned() as u64;

/// Runs the launcher on a listening `SOCK_SEQPACKET` socket that was given as standard input.
///
/// It ends when no daemon is there any more and no sandbox is left either.
///
/// # Errors
/// A step of the set-up that failed.
pub fn run() -> Step<()> {
    let single = SingleThreaded::prove().step("check for threads")?;
    let listener = take_listener()?;
    // A daemon that starts us under a terminal must not take us down with it.
    let _ = setsid();
    nix::sys::prctl::set_dumpable(false).step("prctl(PR_SET_DUMPABLE, 0)")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    room::enter()?;
    let mut launcher = Launcher {
        single,
        filter: agent::seccomp::filter(),
        listener,
        children: watch_children()?,
        daemons: Vec::new(),
        held: Held::default(),
        had_daemon: false,
    };
    while launcher.is_needed() {
        launcher.turn();
    }
    Ok(())
}

/// Moves the listener off the standard streams, which become `/dev/null` for good.
fn take_listener() -> Step<OwnedFd> {
    let stdin = std::io::stdin();
    let listener = stdin.as_fd().try_clone_to_owned().step("take the listener")?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").step("open /dev/null")?;
    for number in 0..3 {
        sys::move_fd(null.as_fd(), number).step("take the standard streams")?;
    }
    Ok(listener)
}

fn watch_children() -> Step<SignalFd> {
    let mask: SigSet = [Signal::SIGCHLD].into_iter().collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).step("block SIGCHLD")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).step("make a signalfd")
}

struct Launcher {
    single: SingleThreaded,
    filter: Vec<Instruction>,
    listener: OwnedFd,
    children: SignalFd,
    /// Connections: one, or two while a daemon takes over from another.
    daemons: Vec<OwnedFd>,
    held: Held,
    had_daemon: bool,
}

impl Launcher {
    /// A daemon that connects in the very moment of the end sees its connection close, and starts another launcher.
    fn is_needed(&self) -> bool {
        !self.had_daemon || !self.daemons.is_empty() || !self.held.is_empty()
    }

    fn turn(&mut self) {
        let ready = self.wait();
        let mut ready = ready.into_iter();
        if ready.next().unwrap_or(false) {
            self.reap();
        }
        let newcomer = ready.next().unwrap_or(false);
        let daemons = std::mem::take(&mut self.daemons);
        for (daemon, ready) in daemons.into_iter().zip(ready) {
            if !ready || self.serve(&daemon) {
                self.daemons.push(daemon);
            }
        }
        if newcomer {
            self.welcome();
        }
    }

    fn wait(&self) -> Vec<bool> {
        let sources = [self.children.as_fd(), self.listener.as_fd()].into_iter();
        let sources = sources.chain(self.daemons.iter().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // An interrupted poll shows nothing as ready, and the loop comes back.
        let _ = poll(&mut fds, PollTimeout::NONE);
        fds.iter().map(|fd| fd.any().unwrap_or(false)).collect()
    }

    fn reap(&self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        while matches!(sys::wait_any(Patience::Look), Ok(Some(_))) {}
    }

    fn welcome(&mut self) {
        if let Ok(number) = accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)
            && let Ok(daemon) = sys::adopt_fd(number)
        {
            self.daemons.push(daemon);
            self.had_daemon = true;
        }
    }

    /// Answers one request; false when the daemon is gone.
    fn serve(&mut self, daemon: &OwnedFd) -> bool {
        let answered = match sys::receive(daemon.as_fd(), MAX_LAUNCHER_BYTES, MsgFlags::MSG_DONTWAIT) {
            Ok(Some(message)) => self.answer(message),
            Ok(None) => return false,
            Err(error) if error.errno == Errno::EAGAIN => return true,
            // Too large, or no room for its descriptors in our table. The daemon waits for an answer all the same.
            Err(error) if error.errno == Errno::EMSGSIZE => Err(refused(&error.to_string())),
            Err(_) => return false,
        };
        let (reply, fds) = match answered {
            Ok(answer) => answer,
            Err(failure) => (LauncherReply::Failed(failure), Vec::new()),
        };
        sys::send(daemon.as_fd(), &proto::encode(&reply), &fds, MsgFlags::empty()).is_ok()
    }

    fn answer(&mut self, message: Message) -> Step<(LauncherReply, Vec<std::os::fd::BorrowedFd<'_>>)> {
        match proto::decode(&message.bytes).step("read a request")? {
            LauncherRequest::Launch { id } => {
                self.launch(&id, message.fds)?;
                Ok(self.held.hand_out(&id))
            }
            LauncherRequest::Attach { id } => Ok(self.held.hand_out(&id)),
            LauncherRequest::Forget { id } => {
                self.held.forget(&id);
                Ok((LauncherReply::Unknown, Vec::new()))
            }
            LauncherRequest::List { after } => Ok((self.held.list(after.as_ref()), Vec::new())),
        }
    }

    fn launch(&mut self, id: &SandboxId, fds: Vec<OwnedFd>) -> Step<()> {
        if self.held.holds(id) {
            return Err(refused("this sandbox was launched before"));
        }
        let (theirs, ours) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .step("make the control socket")?;
        let (cgroup, inheritance) = inherit(fds, ours)?;
        let target = CloneTarget { namespaces: NAMESPACES, cgroup: Some(cgroup.as_fd()) };
        match self.single.fork(target).step("clone the first process")? {
            Cloned::Child => agent::run(&self.single, inheritance, &self.filter),
            Cloned::Parent { pid, pidfd } => {
                self.held.keep(id.clone(), Sandbox { pid, pidfd, control: theirs });
                Ok(())
            }
        }
    }
}

/// Sorts the descriptors of a launch into what they are; the cgroup of PID 1 comes back apart.
fn inherit(fds: Vec<OwnedFd>, control: OwnedFd) -> Step<(OwnedFd, Inheritance)> {
    let count = fds.len();
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| refused(&format!("{count} descriptors came, {LAUNCH_FDS} are needed")));
    let (plan, user_namespace, network_namespace) = (next()?, next()?, next()?);
    let (cgroup, workload_cgroup) = (next()?, next()?);
    let joins = fds.collect();
    let inheritance = Inheritance { plan, user_namespace, network_namespace, workload_cgroup, joins, control };
    Ok((cgroup, inheritance))
}

fn refused(error: &str) -> StepFailure {
    StepFailure { step: "take the request".to_owned(), error: error.to_owned(), kind: FailureKind::Internal }
}
