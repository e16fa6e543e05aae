//! Making processes (`clone3(2)`) and holding them (`pidfd_open(2)`).

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::error::{Result, SyscallError, checked, told};

/// `libc` declares this flag too narrow for its value.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Namespaces to create with the child, as `CLONE_NEW*` bits.
pub type ForkFlags = u64;

/// Proof that this process has one thread: only then may a forked child go on running Rust code.
///
/// It is not `Send`, and the programs that hold one never start a thread.
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// # Errors
    /// When `/proc/self/task` cannot be read, or shows more than one thread (`EAGAIN`).
    pub fn prove() -> Result<Self> {
        let call = || "readdir(\"/proc/self/task\")".to_owned();
        let threads = told(std::fs::read_dir("/proc/self/task"), call)?.count();
        if threads == 1 {
            Ok(Self(PhantomData))
        } else {
            Err(SyscallError { call: format!("{}: {threads} threads", call()), errno: Errno::EAGAIN })
        }
    }
}

/// Where [`SingleThreaded::fork`] came back.
#[derive(Debug)]
pub enum Cloned {
    Child,
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// What the child is born into.
#[derive(Debug, Clone, Copy)]
pub struct CloneTarget<'a> {
    pub namespaces: ForkFlags,
    /// A cgroup v2 directory; the child is born in it, with no migration (Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
}

impl SingleThreaded {
    /// Forks: memory is copied, descriptors are inherited. The child ends with `SIGCHLD` to its parent.
    ///
    /// # Errors
    /// As `clone3(2)`; `EBUSY`/`ENODEV` from the cgroup, `ENOSPC` at a namespace limit, `EAGAIN` at a process limit.
    pub fn fork(&self, target: CloneTarget<'_>) -> Result<Cloned> {
        let mut pidfd: libc::c_int = -1;
        // SAFETY: clone_args is plain integers, for which all-zero is a valid value.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = target.namespaces | libc::CLONE_PIDFD as u64;
        args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
        args.exit_signal = libc::SIGCHLD as u64;
        if let Some(cgroup) = target.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup.as_raw_fd() as u64;
        }
        // SAFETY: without CLONE_VM the child gets a copy of this memory, and `self` proves that no other thread could
        // hold a lock in that copy. `args` and `pidfd` live across the call. No stack is given: the child uses its copy.
        let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
        let flags = args.flags;
        match checked(result, || format!("clone3({{flags={flags:#x}, cgroup={:?}}})", target.cgroup))? {
            0 => Ok(Cloned::Child),
            pid => Ok(Cloned::Parent {
                pid: Pid::from_raw(libc::pid_t::try_from(pid).unwrap_or_default()),
                // SAFETY: CLONE_PIDFD stored a new descriptor that only we have.
                pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
            }),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

/// Whether [`wait_any`] waits for a child to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    Wait,
    Look,
}

/// Takes in one child that has ended; `None` when none has (yet). `nix` would give an error, and the child be lost, for one
/// that a real-time signal killed (`waitpid(2)`).
///
/// # Errors
/// `ECHILD` when there is no child.
pub fn wait_any(patience: Patience) -> Result<Option<(Pid, Ended)>> {
    let flags = if patience == Patience::Look { libc::WNOHANG } else { 0 };
    loop {
        let mut status = 0;
        // SAFETY: waitpid writes one integer, which lives across the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
        match checked(libc::c_long::from(pid), || format!("waitpid(-1, {flags:#x})")) {
            Err(error) if error.errno == Errno::EINTR => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(None),
            Ok(_) if libc::WIFSIGNALED(status) => {
                return Ok(Some((Pid::from_raw(pid), Ended::Signal(libc::WTERMSIG(status)))));
            }
            Ok(_) => return Ok(Some((Pid::from_raw(pid), Ended::Code(libc::WEXITSTATUS(status))))),
        }
    }
}

/// A descriptor for a process; readable once it has ended (Linux 5.3). Close-on-exec.
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: takes two integers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let number = checked(result, || format!("pidfd_open({pid}, 0)"))?;
    // SAFETY: the kernel just returned this descriptor to us alone; descriptors fit c_int.
    Ok(unsafe { OwnedFd::from_raw_fd(number as libc::c_int) })
}

/// Sends a signal to exactly the process that `pidfd` was opened for.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it as kill(2) does.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    checked(result, || format!("pidfd_send_signal([{}], {signal})", pidfd.as_raw_fd()))?;
    Ok(())
}

/// Asks for `signal` when the parent ends (`PR_SET_PDEATHSIG`).
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes an integer.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
    checked(libc::c_long::from(result), || format!("prctl(PR_SET_PDEATHSIG, {signal})"))?;
    Ok(())
}

/// Sets a resource limit of this process (`setrlimit(2)`); a hard limit above the present one is cut down to it where
/// the process may not raise it.
pub fn set_resource_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let mut present = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes to the struct that is given, which lives across the call.
    let got = unsafe { libc::getrlimit(resource, &raw mut present) };
    checked(libc::c_long::from(got), || format!("getrlimit({resource})"))?;
    let set = |hard: u64| {
        let limit = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
        // SAFETY: setrlimit reads the struct that is given, which lives across the call.
        let result = unsafe { libc::setrlimit(resource, &raw const limit) };
        checked(libc::c_long::from(result), || format!("setrlimit({resource}, {{{}, {hard}}})", soft.min(hard)))
    };
    match set(hard) {
        Err(error) if error.errno == Errno::EPERM => set(hard.min(present.rlim_max)).map(drop),
        other => other.map(drop),
    }
}

/// Gives every signal its default action: ignored signals stay ignored through `execve(2)`. The Rust runtime ignores
/// `SIGPIPE`, and `posix_spawn` of the C library its own two, which `signal(2)` of the library then refuses to change.
pub fn reset_signals() {
    /// The kernel's own `struct sigaction`, all zero: `SIG_DFL`, no flags, an empty mask (32 bytes at most).
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=64 {
        let none = std::ptr::null::<u64>();
        // SAFETY: reads DEFAULT and sets SIG_DFL, which runs no code of ours. SIGKILL and SIGSTOP answer EINVAL, which
        // is as good.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), none, size_of::<u64>()) };
    }
}
