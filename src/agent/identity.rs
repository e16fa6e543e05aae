//! Leaving the launcher's identity behind, step by step.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use caps::{CapSet, Capability};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgroups, sethostname, setresgid, setresuid, setsid};

use super::step::{Named, Step};
use crate::sys;

/// Closes what belongs to the launcher and leaves its session.
pub fn leave_launcher(control: &OwnedFd, needed: &[RawFd], joins: &[OwnedFd]) -> Step<()> {
    // 0 to 2 are /dev/null in the launcher, and stay.
    let mut keep = vec![0, 1, 2, control.as_raw_fd()];
    keep.extend_from_slice(needed);
    keep.extend(joins.iter().map(AsRawFd::as_raw_fd));
    sys::close_all_but(&keep).step("close the launcher's descriptors")?;
    setsid().step("setsid")?;
    // Whoever looks at this process from inside the sandbox may not read or trace it (ptrace(2), PTRACE_MODE).
    nix::sys::prctl::set_dumpable(false).step("prctl(PR_SET_DUMPABLE, 0)")
}

pub fn enter_network(namespace: &OwnedFd) -> Step<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET).step("setns(network namespace)")
}

pub fn set_machine_name(name: &str) -> Step<()> {
    sethostname(name).step("sethostname")?;
    nix_setdomainname().step("setdomainname")
}

/// The NIS domain name is inherited from the host; nobody inside needs it.
fn nix_setdomainname() -> std::io::Result<()> {
    std::fs::write("/proc/sys/kernel/domainname", "(none)")
}

/// Inherited by everything in the sandbox: under memory pressure of the whole host the sandboxes go first.
pub fn set_oom_score_adj(value: i32) -> Step<()> {
    std::fs::write("/proc/self/oom_score_adj", value.to_string()).step("write /proc/self/oom_score_adj")
}

/// Becomes `id` on the host (an id that is mapped nowhere) and enters the sandbox's user namespace, where the kernel
/// grants every capability; none of them reaches outside.
///
/// An unmapped id keeps PID 1 apart from the sandbox's own root, and is the owner of just the two `cgroup.procs` files
/// that `CLONE_INTO_CGROUP` checks.
pub fn become_supervisor(id: u32, user_namespace: &OwnedFd) -> Step<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    caps::securebits::set_keepcaps(true).step("prctl(PR_SET_KEEPCAPS)")?;
    setgroups(&[]).step("setgroups([])")?;
    setresgid(gid, gid, gid).step("setresgid(supervisor)")?;
    setresuid(uid, uid, uid).step("setresuid(supervisor)")?;
    // The change of the user id has cleared the effective set; entering the namespace needs this one.
    caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).step("capset(CAP_SYS_ADMIN)")?;
    setns(user_namespace, CloneFlags::CLONE_NEWUSER).step("setns(user namespace)")?;
    // Changing ids made the process dumpable by the host's rules again (prctl(2)).
    nix::sys::prctl::set_dumpable(false).step("prctl(PR_SET_DUMPABLE, 0)")
}
