//! Starting a process of the workload: a child of PID 1, born in the workload's cgroup, that gives up everything it
//! does not need and then becomes the program.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::{Gid, Pid, Uid, pipe2, setgroups, setresgid, setresuid, setsid};

use super::step::{Named, Step};
use super::user::{self, Identity};
use crate::proto::{self, FailureKind, Process, StepFailure};
use crate::sys::{self, CloneTarget, Cloned, Instruction, SingleThreaded};

/// Where `PATH` of the environment is missing, as Docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The cgroups of the workload.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub cgroup: BorrowedFd<'a>,
    pub joins: &'a [OwnedFd],
}

/// The standard output and error of a process: the ends that PID 1 reads and the ends that the process writes.
#[derive(Debug)]
pub struct Pipes {
    pub stdout: (OwnedFd, OwnedFd),
    pub stderr: (OwnedFd, OwnedFd),
}

impl Pipes {
    /// Whoever is inside may open the writing ends by name, as `/dev/stdout`, and nobody the reading ends: the pipes belong
    /// to PID 1, which is mapped to nobody there.
    pub fn make() -> Step<Self> {
        let make = || -> Step<(OwnedFd, OwnedFd)> {
            let (read, write) = pipe2(OFlag::O_CLOEXEC).step("make the output pipes")?;
            fchmod(&write, Mode::from_bits_truncate(0o222)).step("let all write to the output pipes")?;
            Ok((read, write))
        };
        Ok(Self { stdout: make()?, stderr: make()? })
    }
}

/// Starts the process and returns once it has been executed.
pub fn spawn(
    single: &SingleThreaded,
    process: &Process,
    place: Place<'_>,
    pipes: &Pipes,
    filter: &[Instruction],
) -> Step<Pid> {
    let (mut failure_in, failure_out) = pipe2(OFlag::O_CLOEXEC).step("make the failure pipe").map(into_file)?;
    let target = CloneTarget { namespaces: 0, cgroup: Some(place.cgroup) };
    match single.fork(target).step("clone the entrypoint")? {
        Cloned::Child => {
            let failure = become_program(process, place, pipes, filter);
            let _ = nix::unistd::write(&failure_out, &proto::encode(&failure));
            // Nothing of the parent's copied state may run at exit.
            nix::sys::signal::raise(nix::sys::signal::SIGKILL).ok();
            std::process::exit(127)
        }
        Cloned::Parent { pid, .. } => {
            drop(failure_out);
            let mut bytes = Vec::new();
            failure_in.read_to_end(&mut bytes).step("wait for exec")?;
            if bytes.is_empty() {
                return Ok(pid);
            }
            Err(proto::decode(&bytes).unwrap_or_else(|error| StepFailure {
                step: "start the entrypoint".to_owned(),
                error: error.to_string(),
                kind: FailureKind::Internal,
            }))
        }
    }
}

fn into_file((read, write): (OwnedFd, OwnedFd)) -> (std::fs::File, OwnedFd) {
    (read.into(), write)
}

/// The child's way to exec; comes back only with what went wrong.
fn become_program(process: &Process, place: Place<'_>, pipes: &Pipes, filter: &[Instruction]) -> StepFailure {
    let way = (|| -> Step<StepFailure> {
        join_cgroups(place.joins)?;
        umask(Mode::from_bits_truncate(0o022));
        setsid().step("setsid")?;
        leave_keyring()?;
        set_limits(process)?;
        become_root_inside()?;
        let who = user::resolve(&process.user).step_of_user("find the user")?;
        make_working_directory(&process.cwd)?;
        take_streams(pipes)?;
        drop_privileges(process, &who)?;
        enter_working_directory(&process.cwd)?;
        let program = Program::new(process, &who)?;
        sys::reset_signals();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step("sigprocmask")?;
        nix::sys::prctl::set_no_new_privs().step("prctl(PR_SET_NO_NEW_PRIVS)")?;
        sys::cloexec_from(3).step("mark descriptors close-on-exec")?;
        sys::install_filter(filter).step("install the seccomp filter")?;
        Ok(program.execute())
    })();
    way.unwrap_or_else(|failure| failure)
}

/// Version 1 hierarchies are joined by writing: nothing of the image has run, so the limits hold from its first
/// instruction. The cgroup namespace comes after, so that every path in `/proc/self/cgroup` reads `/`.
fn join_cgroups(joins: &[OwnedFd]) -> Step<()> {
    for join in joins {
        nix::unistd::write(join, b"0").step("write cgroup.procs")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).step("unshare(CLONE_NEWCGROUP)")
}

fn leave_keyring() -> Step<()> {
    match sys::join_anonymous_session_keyring() {
        Err(error) if error.errno == Errno::ENOSYS => Ok(()),
        other => other.step("join a new session keyring"),
    }
}

fn set_limits(process: &Process) -> Step<()> {
    for limit in &process.limits {
        sys::set_resource_limit(limit.resource, limit.soft, limit.hard).step("set resource limits")?;
    }
    Ok(())
}

/// Root of the sandbox, still with every capability of its user namespace.
fn become_root_inside() -> Step<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).step("setgroups([])")?;
    setresgid(gid, gid, gid).step("setresgid(0)")?;
    setresuid(uid, uid, uid).step("setresuid(0)")
}

/// As Docker, makes the working directory when the image lacks it.
fn make_working_directory(path: &str) -> Step<()> {
    if !path.starts_with('/') {
        return Err(format!("{path:?} is not an absolute path")).step_of_user("make the working directory");
    }
    std::fs::create_dir_all(path)
        .map_err(|error| format!("mkdir({path:?}): {error}"))
        .step_of_user("make the working directory")
}

/// A directory outside of this root (through a descriptor that leaked) would show as unreachable.
fn enter_working_directory(path: &str) -> Step<()> {
    let entered = std::env::set_current_dir(path).map_err(|error| format!("chdir({path:?}): {error}"));
    entered.step_of_user("enter the working directory")?;
    let reached = nix::unistd::getcwd().map_err(|error| format!("getcwd() in {path:?}: {error}"));
    let inside = reached.step_of_user("enter the working directory")?;
    if inside.starts_with("/") {
        Ok(())
    } else {
        Err(format!("{path:?} leads outside the root")).step_of_user("enter the working directory")
    }
}

fn take_streams(pipes: &Pipes) -> Step<()> {
    let null = std::fs::File::open("/dev/null").step("open /dev/null")?;
    for (source, target) in [(null.as_fd(), 0), (pipes.stdout.1.as_fd(), 1), (pipes.stderr.1.as_fd(), 2)] {
        sys::move_fd(source, target).step("take the standard streams")?;
    }
    Ok(())
}

/// The bounding set first (it needs `CAP_SETPCAP`), then the user. A user other than root is left with no capability
/// at all by the kernel; root keeps what the bounding set allows. Nothing is inheritable or ambient.
fn drop_privileges(process: &Process, who: &Identity) -> Step<()> {
    let allowed: CapsHashSet =
        caps::all().into_iter().filter(|cap| process.capabilities.contains(&cap.index())).collect();
    for capability in caps::runtime::thread_all_supported() {
        if !allowed.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).step("drop a capability from the bounding set")?;
        }
    }
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).step("setgroups")?;
    setresgid(gid, gid, gid).step("setresgid")?;
    setresuid(uid, uid, uid).step("setresuid")?;
    let kept = if who.uid == 0 { allowed } else { CapsHashSet::new() };
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).step("capset(inheritable)")?;
    caps::set(None, CapSet::Effective, &kept).step("capset(effective)")?;
    caps::set(None, CapSet::Permitted, &kept).step("capset(permitted)")
}

/// The program with everything that needs memory done, so that only `execve` is left after the filter.
struct Program {
    name: String,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    fn new(process: &Process, who: &Identity) -> Step<Self> {
        let name = process.argv.first().cloned().unwrap_or_default();
        let c_strings = |texts: &mut dyn Iterator<Item = String>| {
            texts.map(CString::new).collect::<Result<Vec<_>, _>>().step_of_user("make the argument vector")
        };
        let mut env = process.env.clone();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", who.home));
        }
        let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH).to_owned();
        let candidates: Vec<String> = if name.contains('/') {
            vec![name.clone()]
        } else {
            path.split(':').map(|dir| format!("{}/{name}", if dir.is_empty() { "." } else { dir })).collect()
        };
        Ok(Self {
            name,
            candidates: c_strings(&mut candidates.into_iter())?,
            argv: c_strings(&mut process.argv.iter().cloned())?,
            env: c_strings(&mut env.into_iter())?,
        })
    }

    /// Tries each candidate as `execvp(3)` does; returns what to report.
    fn execute(&self) -> StepFailure {
        let mut worst = Errno::ENOENT;
        for candidate in &self.candidates {
            match nix::unistd::execve(candidate, &self.argv, &self.env) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => {
                    worst = errno;
                    if errno != Errno::EACCES {
                        break;
                    }
                }
            }
        }
        self.failure(worst)
    }

    fn failure(&self, errno: Errno) -> StepFailure {
        let name = &self.name;
        let (kind, error) = match errno {
            Errno::ENOENT => {
                let place = if name.contains('/') {
                    "there is no such file in the image, or its interpreter is missing"
                } else {
                    "no directory of PATH in the image has it"
                };
                (FailureKind::NotFound, format!("execve({name:?}): ENOENT: {place}"))
            }
            errno => (FailureKind::NotExecutable, format!("execve({name:?}): {errno:?} ({})", errno.desc())),
        };
        StepFailure { step: "execute the entrypoint".to_owned(), error, kind }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The numbers of the pipe ends that PID 1 keeps.
impl Pipes {
    pub fn readers(self) -> (OwnedFd, OwnedFd) {
        let Self { stdout: (stdout, _), stderr: (stderr, _) } = self;
        debug_assert!(stdout.as_raw_fd() != stderr.as_raw_fd());
        (stdout, stderr)
    }
}
