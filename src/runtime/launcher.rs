//! The daemon's side of the launcher: finding the one that runs, starting one where none does, and asking it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use thiserror::Error;

use super::idrange::supervisor_id;
use crate::model::SandboxId;
use crate::proto::{
    self, LauncherReply, LauncherRequest, MAX_LAUNCHER_BYTES, Malformed, NamespaceReply, NamespaceRequest, StepFailure,
};
use crate::sys::{self, SyscallError};

/// How long an answer may take that takes a millisecond. Where the kernel still takes apart the namespaces of many sandboxes, a
/// new one waits for that.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub enum LauncherError {
    #[error("start {program}; it has to stand beside the bivouac program")]
    Start { program: PathBuf, source: io::Error },
    #[error("talk to bivouac-init: {0}")]
    Call(#[from] SyscallError),
    #[error("talk to bivouac-init: no answer in {0:?}; it is stopped or hangs")]
    Silent(Duration),
    #[error("talk to bivouac-init: it has closed the connection")]
    Closed,
    #[error("understand bivouac-init: {0}")]
    Malformed(#[from] Malformed),
    #[error("understand bivouac-init: an answer of another kind, or without its descriptors")]
    Unexpected,
    #[error("trust the launcher at {path}: it runs as user {uid}, not as root")]
    Foreign { path: PathBuf, uid: u32 },
    #[error(transparent)]
    Step(#[from] StepFailure),
}

/// A launched sandbox, as the launcher hands it out.
#[derive(Debug)]
pub struct Holding {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub control: OwnedFd,
}

/// A connection to the launcher. Requests take turns: the launcher is single-threaded anyway, and answers in 0.3 ms.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    run_dir: PathBuf,
    connection: Mutex<OwnedFd>,
}

impl Launcher {
    /// Connects to the launcher of this run directory, and starts it first where none answers.
    pub fn connect(program: &Path, run_dir: &Path) -> Result<Self, LauncherError> {
        let connection = connect_or_start(program, run_dir)?;
        Ok(Self { program: program.to_owned(), run_dir: run_dir.to_owned(), connection: Mutex::new(connection) })
    }

    /// Clones the first process of a sandbox; `fds` as [`proto::LAUNCH_FDS`] lists them.
    pub fn launch(&self, id: &SandboxId, fds: &[BorrowedFd<'_>]) -> Result<Holding, LauncherError> {
        let reply = self.ask(&LauncherRequest::Launch { id: id.clone() }, fds)?;
        holding(reply)?.ok_or(LauncherError::Unexpected)
    }

    /// A sandbox that was launched before; `None` when the launcher does not have it.
    pub fn attach(&self, id: &SandboxId) -> Result<Option<Holding>, LauncherError> {
        holding(self.ask(&LauncherRequest::Attach { id: id.clone() }, &[])?)
    }

    pub fn forget(&self, id: &SandboxId) -> Result<(), LauncherError> {
        self.ask(&LauncherRequest::Forget { id: id.clone() }, &[]).map(drop)
    }

    /// Everything that the launcher holds.
    pub fn list(&self) -> Result<Vec<SandboxId>, LauncherError> {
        let mut all: Vec<SandboxId> = Vec::new();
        loop {
            match self.ask(&LauncherRequest::List { after: all.last().cloned() }, &[])?.0 {
                LauncherReply::Ids(page) if page.is_empty() => return Ok(all),
                LauncherReply::Ids(page) => all.extend(page),
                _ => return Err(LauncherError::Unexpected),
            }
        }
    }

    /// One request and its answer. A launcher that is gone is started again, once: what it held is lost for a later
    /// daemon, but not for this one, which has its own copies.
    fn ask(
        &self,
        request: &LauncherRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(LauncherReply, Vec<OwnedFd>), LauncherError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match exchange(&connection, request, fds) {
            Err(LauncherError::Call(error)) if error.errno == Errno::EAGAIN => {
                // Its answer may come yet, and must not be taken for the next one's.
                *connection = connect_or_start(&self.program, &self.run_dir)?;
                return Err(LauncherError::Silent(PATIENCE));
            }
            Err(LauncherError::Closed) => {}
            Err(LauncherError::Call(error)) if matches!(error.errno, Errno::EPIPE | Errno::ECONNRESET) => {}
            other => return other,
        }
        tracing::error!("the launcher is gone; starting another");
        *connection = connect_or_start(&self.program, &self.run_dir)?;
        exchange(&connection, request, fds)
    }
}

fn exchange<Q: serde::Serialize, A: serde::de::DeserializeOwned>(
    connection: &OwnedFd,
    request: &Q,
    fds: &[BorrowedFd<'_>],
) -> Result<(A, Vec<OwnedFd>), LauncherError> {
    sys::send(connection.as_fd(), &proto::encode(request), fds, MsgFlags::empty())?;
    let message = sys::receive(connection.as_fd(), MAX_LAUNCHER_BYTES, MsgFlags::empty())?;
    let message = message.ok_or(LauncherError::Closed)?;
    Ok((proto::decode(&message.bytes)?, message.fds))
}

fn holding((reply, fds): (LauncherReply, Vec<OwnedFd>)) -> Result<Option<Holding>, LauncherError> {
    match reply {
        LauncherReply::Holding { pid } => {
            let [pidfd, control] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| LauncherError::Unexpected)?;
            Ok(Some(Holding { pid, pidfd, control }))
        }
        LauncherReply::Unknown => Ok(None),
        LauncherReply::Failed(failure) => Err(failure.into()),
        LauncherReply::Ids(_) => Err(LauncherError::Unexpected),
    }
}

fn connect_or_start(program: &Path, run_dir: &Path) -> Result<OwnedFd, LauncherError> {
    let path = run_dir.join("launcher.sock");
    match try_connect(&path) {
        Ok(connection) => return trusted(connection, &path),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => {}
        Err(errno) => return Err(SyscallError { call: format!("connect({})", path.display()), errno }.into()),
    }
    start(program, run_dir, &path)?;
    let connected = try_connect(&path);
    trusted(sys::told(connected, || format!("connect({})", path.display()))?, &path)
}

fn try_connect(path: &Path) -> nix::Result<OwnedFd> {
    let connection = seqpacket()?;
    connect(connection.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(connection)
}

fn seqpacket() -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    bound_waiting(&socket)?;
    Ok(socket)
}

/// Lets a call on this socket, `connect(2)` included, wait so long and then fail with `EAGAIN`.
fn bound_waiting(socket: &OwnedFd) -> nix::Result<()> {
    let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
    setsockopt(socket, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(socket, sockopt::SendTimeout, &patience)
}

/// The directory belongs to root alone, so this only catches a host that is set up wrongly.
fn trusted(connection: OwnedFd, path: &Path) -> Result<OwnedFd, LauncherError> {
    let peer = sys::told(getsockopt(&connection, sockopt::PeerCredentials), || "getsockopt(SO_PEERCRED)".to_owned())?;
    if peer.uid() == 0 {
        Ok(connection)
    } else {
        Err(LauncherError::Foreign { path: path.to_owned(), uid: peer.uid() })
    }
}

/// Starts the launcher on a socket that already listens, so that whoever connects next simply waits for it.
fn start(program: &Path, run_dir: &Path, path: &Path) -> Result<(), LauncherError> {
    drop(fs::remove_file(path));
    let call = || format!("listen({})", path.display());
    let listener = sys::told(seqpacket(), call)?;
    let address = sys::told(UnixAddr::new(path), call)?;
    sys::told(bind(listener.as_raw_fd(), &address), call)?;
    sys::told(listen(&listener, Backlog::MAXCONN), call)?;
    spawn(program, &["launch", &run_dir.to_string_lossy()], listener)
}

/// Starts `bivouac-init` with a socket as its standard input and the daemon's standard error.
fn spawn(program: &Path, arguments: &[&str], socket: OwnedFd) -> Result<(), LauncherError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::from(socket)).stdout(Stdio::null()).env_clear();
    let failed = |source| LauncherError::Start { program: program.to_owned(), source };
    let name = arguments.first().map_or_else(String::new, |name| (*name).to_owned());
    let (hand_over, handed_over) = mpsc::sync_channel::<Child>(1);
    // Whoever starts a process must wait for it; this thread sleeps until then. It is there before the process, which could
    // not be waited for without it.
    let waiting = std::thread::Builder::new().name("children".into()).spawn(move || {
        let Ok(mut child) = handed_over.recv() else { return };
        match child.wait() {
            Ok(status) => tracing::warn!(%status, "bivouac-init {name} has ended"),
            Err(error) => tracing::error!(%error, "waiting for bivouac-init {name} failed"),
        }
    });
    waiting.map_err(failed)?;
    let child = command.spawn().map_err(failed)?;
    hand_over.send(child).map_err(|_| failed(io::Error::other("the thread that waits for it has ended")))
}

/// The namespace maker, held by one thread.
#[derive(Debug)]
pub struct NamespaceMaker {
    connection: OwnedFd,
}

/// A user namespace with its network namespace.
#[derive(Debug)]
pub struct Namespaces {
    pub user: OwnedFd,
    pub network: OwnedFd,
}

impl NamespaceMaker {
    pub fn start(program: &Path) -> Result<Self, LauncherError> {
        let pair = nix::sys::socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = sys::told(pair, || "socketpair(AF_UNIX, SOCK_SEQPACKET)".to_owned())?;
        sys::told(bound_waiting(&ours), || "setsockopt(SO_RCVTIMEO)".to_owned())?;
        spawn(program, &["namespaces"], theirs)?;
        Ok(Self { connection: ours })
    }

    pub fn make(&self, base: u32) -> Result<Namespaces, LauncherError> {
        let (reply, fds) = exchange(&self.connection, &NamespaceRequest { base, owner: supervisor_id(base) }, &[])?;
        match reply {
            NamespaceReply::Made => {
                let [user, network] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| LauncherError::Unexpected)?;
                Ok(Namespaces { user, network })
            }
            NamespaceReply::Failed(failure) => Err(failure.into()),
        }
    }
}
