//! What a process of the workload gives up, and where it goes, before it becomes a program.

use std::os::fd::OwnedFd;

use caps::{CapSet, CapsHashSet};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

use super::step::{Named, Step};
use super::user::Identity;
use crate::proto::{FailureKind, SeedPlan};
use crate::sys::{self, Instruction};

/// Version 1 hierarchies are joined by writing: nothing of the image has run, so the limits hold from its first
/// instruction. The cgroup namespace comes after, so that every path in `/proc/self/cgroup` reads `/`.
pub fn join_cgroups(joins: &[OwnedFd]) -> Step<()> {
    for join in joins {
        nix::unistd::write(join, b"0").step("write tasks")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).step("unshare(CLONE_NEWCGROUP)")
}

/// A session and a keyring of its own.
pub fn leave_session() -> Step<()> {
    umask(Mode::from_bits_truncate(0o022));
    setsid().step("setsid")?;
    leave_keyring()
}

fn leave_keyring() -> Step<()> {
    match sys::join_anonymous_session_keyring() {
        Err(error) if error.errno == Errno::ENOSYS => Ok(()),
        other => other.step("join a new session keyring"),
    }
}

/// Best before the user namespace: raising a hard limit takes a capability of the host; otherwise it stays as it is.
pub fn set_limits(plan: &SeedPlan) -> Step<()> {
    for limit in &plan.limits {
        sys::set_resource_limit(limit.resource, limit.soft, limit.hard).step("set resource limits")?;
    }
    Ok(())
}

/// Becomes a process of the sandbox, its root still, with every capability that its user namespace may give. What comes
/// after this is within the seccomp filter.
pub fn confine(plan: &SeedPlan, filter: &[Instruction]) -> Step<()> {
    become_root_inside()?;
    bound_capabilities(plan)?;
    sys::reset_signals();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step("sigprocmask")?;
    nix::sys::prctl::set_no_new_privs().step("prctl(PR_SET_NO_NEW_PRIVS)")?;
    sys::install_filter(filter).step("install the seccomp filter")
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
pub fn make_working_directory(path: &str) -> Step<()> {
    if !path.starts_with('/') {
        return Err(format!("{path:?} is not an absolute path"))
            .step_of(FailureKind::WorkingDirectory, "make the working directory");
    }
    std::fs::create_dir_all(path)
        .map_err(|error| format!("mkdir({path:?}): {error}"))
        .step_of(FailureKind::WorkingDirectory, "make the working directory")
}

/// A directory outside of this root (through a descriptor that leaked) would show as unreachable.
pub fn enter_working_directory(path: &str) -> Step<()> {
    let (kind, step) = (FailureKind::WorkingDirectory, "enter the working directory");
    std::env::set_current_dir(path).map_err(|error| format!("chdir({path:?}): {error}")).step_of(kind, step)?;
    let reached = nix::unistd::getcwd().map_err(|error| format!("getcwd() in {path:?}: {error}"));
    if reached.step_of(kind, step)?.starts_with("/") {
        Ok(())
    } else {
        Err(format!("{path:?} leads outside the root")).step_of(kind, step)
    }
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
pub fn drop_privileges(plan: &SeedPlan, who: &Identity) -> Step<()> {
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
