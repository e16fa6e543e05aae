//! Starting a process of the workload: a child of PID 1, born in the workload's cgroup, that gives up everything it
//! does not need, waits to be told what to run, and then becomes the program.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::{Gid, Pid, Uid, pipe2, setgroups, setresgid, setresuid, setsid};

use super::step::{Named, Step};
use super::user::{self, Identity};
use crate::proto::{self, FailureKind, Process, SeedPlan, StepFailure};
use crate::sys::{self, CloneTarget, Cloned, Instruction, SingleThreaded};

/// Where `PATH` of the environment is missing, as Docker has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a process of the workload lives in.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub cgroup: BorrowedFd<'a>,
    pub joins: &'a [OwnedFd],
    pub user_namespace: &'a OwnedFd,
}

/// The ends of a process's output that PID 1 reads.
#[derive(Debug)]
pub struct Outputs {
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// A child that waits to be told which program to become, with everything done that does not depend on it.
#[derive(Debug)]
pub struct Nursling {
    pid: Pid,
    order: OwnedFd,
    failure: OwnedFd,
    outputs: Outputs,
}

/// The nursling's own ends.
struct Cradle {
    order: OwnedFd,
    failure: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Forks a nursling, as real root still: from here on it goes its own way into the sandbox.
pub fn raise(single: &SingleThreaded, plan: &SeedPlan, place: Place<'_>, filter: &[Instruction]) -> Step<Nursling> {
    let pipe = || pipe2(OFlag::O_CLOEXEC).step("make the pipes of the entrypoint");
    let ((order_in, order), (failure, failure_out)) = (pipe()?, pipe()?);
    let ((stdout, stdout_in), (stderr, stderr_in)) = (pipe()?, pipe()?);
    for writable in [&stdout_in, &stderr_in] {
        // Whoever is inside may open the writing ends by name, as `/dev/stdout`, and nobody the reading ends: the pipes belong
        // to an id that is mapped to nobody there.
        fchmod(writable, Mode::from_bits_truncate(0o222)).step("let all write to the output pipes")?;
    }
    let cradle = Cradle { order: order_in, failure: failure_out, stdout: stdout_in, stderr: stderr_in };
    let target = CloneTarget { namespaces: 0, cgroup: Some(place.cgroup) };
    match single.fork(target).step("clone the entrypoint")? {
        Cloned::Child => live(plan, place, &cradle, filter),
        Cloned::Parent { pid, .. } => Ok(Nursling { pid, order, failure, outputs: Outputs { stdout, stderr } }),
    }
}

impl Nursling {
    /// Has it become the program; returns once that was executed.
    pub fn execute(self, process: &Process) -> Step<(Pid, Outputs)> {
        // One that has died already has said why.
        let told = File::from(self.order).write_all(&proto::encode(process)).step("tell the program");
        let mut bytes = Vec::new();
        File::from(self.failure).read_to_end(&mut bytes).step("wait for exec")?;
        if !bytes.is_empty() {
            return Err(proto::decode(&bytes).step("hear of the failure").unwrap_or_else(|failure| failure));
        }
        told.map(|()| (self.pid, self.outputs))
    }
}

/// The nursling's life; it never comes back to its parent's code.
fn live(plan: &SeedPlan, place: Place<'_>, cradle: &Cradle, filter: &[Instruction]) -> ! {
    let failure = grow_up(plan, place, cradle, filter).unwrap_or_else(|failure| failure);
    let _ = nix::unistd::write(&cradle.failure, &proto::encode(&failure));
    // Nothing of the parent's copied state may run at exit.
    nix::sys::signal::raise(nix::sys::signal::SIGKILL).ok();
    std::process::exit(127)
}

/// The way to exec; comes back only with what went wrong.
fn grow_up(plan: &SeedPlan, place: Place<'_>, cradle: &Cradle, filter: &[Instruction]) -> Step<StepFailure> {
    let joins = place.joins.iter().map(AsRawFd::as_raw_fd);
    keep_only(cradle, &joins.chain([place.user_namespace.as_raw_fd()]).collect::<Vec<_>>())?;
    join_cgroups(place.joins)?;
    umask(Mode::from_bits_truncate(0o022));
    setsid().step("setsid")?;
    leave_keyring()?;
    set_limits(plan)?;
    setns(place.user_namespace, CloneFlags::CLONE_NEWUSER).step("setns(user namespace)")?;
    // Before any path of an image is looked at: it may name a descriptor.
    keep_only(cradle, &[])?;
    become_root_inside()?;
    bound_capabilities(plan)?;
    sys::reset_signals();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step("sigprocmask")?;
    nix::sys::prctl::set_no_new_privs().step("prctl(PR_SET_NO_NEW_PRIVS)")?;
    sys::install_filter(filter).step("install the seccomp filter")?;

    let Some(process) = await_order(&cradle.order)? else { std::process::exit(0) };
    let who = user::resolve(&process.user).step_of_user("find the user")?;
    make_working_directory(&process.cwd)?;
    take_streams(cradle)?;
    drop_privileges(plan, &who)?;
    enter_working_directory(&process.cwd)?;
    let program = Program::new(&process, &who)?;
    sys::cloexec_from(3).step("mark descriptors close-on-exec")?;
    Ok(program.execute())
}

/// Lets go of everything that is PID 1's but its own ends of the pipes and `needed`.
fn keep_only(cradle: &Cradle, needed: &[RawFd]) -> Step<()> {
    let Cradle { order, failure, stdout, stderr } = cradle;
    let mut keep = vec![0, 1, 2];
    keep.extend([order, failure, stdout, stderr].map(AsRawFd::as_raw_fd));
    keep.extend(needed);
    sys::close_all_but(&keep).step("close the descriptors of PID 1")
}

/// The program to become; `None` when PID 1 has closed its end without a word.
fn await_order(order: &OwnedFd) -> Step<Option<Process>> {
    let mut bytes = Vec::new();
    let file = order.try_clone().step("wait for the program")?;
    File::from(file).read_to_end(&mut bytes).step("wait for the program")?;
    if bytes.is_empty() { Ok(None) } else { proto::decode(&bytes).step("wait for the program") }
}

/// Version 1 hierarchies are joined by writing: nothing of the image has run, so the limits hold from its first
/// instruction. The cgroup namespace comes after, so that every path in `/proc/self/cgroup` reads `/`.
fn join_cgroups(joins: &[OwnedFd]) -> Step<()> {
    for join in joins {
        nix::unistd::write(join, b"0").step("write tasks")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).step("unshare(CLONE_NEWCGROUP)")
}

fn leave_keyring() -> Step<()> {
    match sys::join_anonymous_session_keyring() {
        Err(error) if error.errno == Errno::ENOSYS => Ok(()),
        other => other.step("join a new session keyring"),
    }
}

/// Before the user namespace: raising a hard limit takes a capability of the host.
fn set_limits(plan: &SeedPlan) -> Step<()> {
    for limit in &plan.limits {
        sys::set_resource_limit(limit.resource, limit.soft, limit.hard).step("set resource limits")?;
    }
    Ok(())
}

/// Root of the sandbox, still with every capability of its user namespace.
fn become_root_inside() -> Step<()> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).step("setgroups([])")?;
    setresgid(gid, gid, gid).step("setresgid(0)")?;
    setresuid(uid, uid, uid).step("setresuid(0)")?;
    // A change of ids may make the process dumpable again, by the host's `fs.suid_dumpable`.
    nix::sys::prctl::set_dumpable(false).step("prctl(PR_SET_DUMPABLE, 0)")
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

fn take_streams(cradle: &Cradle) -> Step<()> {
    let null = File::open("/dev/null").step("open /dev/null")?;
    for (source, target) in [(null.as_fd(), 0), (cradle.stdout.as_fd(), 1), (cradle.stderr.as_fd(), 2)] {
        sys::move_fd(source, target).step("take the standard streams")?;
    }
    Ok(())
}

fn allowed_capabilities(plan: &SeedPlan) -> CapsHashSet {
    caps::all().into_iter().filter(|capability| plan.capabilities.contains(&capability.index())).collect()
}

/// Cuts the bounding set, which takes `CAP_SETPCAP`.
fn bound_capabilities(plan: &SeedPlan) -> Step<()> {
    let allowed = allowed_capabilities(plan);
    for capability in caps::runtime::thread_all_supported() {
        if !allowed.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability).step("drop a capability from the bounding set")?;
        }
    }
    Ok(())
}

/// Takes the user. One other than root is left with no capability at all by the kernel; root keeps what the bounding
/// set allows. Nothing is inheritable or ambient.
fn drop_privileges(plan: &SeedPlan, who: &Identity) -> Step<()> {
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).step("setgroups")?;
    setresgid(gid, gid, gid).step("setresgid")?;
    setresuid(uid, uid, uid).step("setresuid")?;
    nix::sys::prctl::set_dumpable(false).step("prctl(PR_SET_DUMPABLE, 0)")?;
    let kept = if who.uid == 0 { allowed_capabilities(plan) } else { CapsHashSet::new() };
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
