//! The namespace maker: prepares pairs of a user namespace and a network namespace, ahead of the sandboxes that will
//! live in them.
//!
//! It is a program of its own beside the launcher, because making a network namespace takes up to milliseconds and
//! must not hold up a launch. It keeps nothing: whoever holds the descriptors holds the namespaces, and when the daemon
//! ends it ends too.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use caps::{CapSet, Capability};
use nix::fcntl::OFlag;
use nix::sys::socket::MsgFlags;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, Uid, pipe2, seteuid};

use crate::agent::{Named, Step};
use crate::proto::{self, FailureKind, MAX_LAUNCHER_BYTES, NamespaceReply, NamespaceRequest, StepFailure};
use crate::sys::{self, CloneTarget, Cloned, SingleThreaded};

/// Ids in the range of one sandbox: as many as a 16-bit id of an image can name.
const IDS: u32 = 65_536;

/// No process inside may make more of these, whatever the seccomp filter says. Cgroup namespaces stay possible: PID 1
/// gives one to each process of the workload.
const CLOSED: [&str; 7] = ["user", "pid", "net", "mnt", "uts", "ipc", "time"];

/// Serves requests on a `SOCK_SEQPACKET` socket given as standard input, until the daemon closes it.
///
/// # Errors
/// A step of the set-up that failed; a request that failed is answered, and the next one served.
pub fn run() -> Step<()> {
    let single = SingleThreaded::prove().step("check for threads")?;
    end_with_daemon()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().step("take the socket")?;
    while let Some(message) = sys::receive(socket.as_fd(), MAX_LAUNCHER_BYTES, MsgFlags::empty()).step("receive")? {
        let made = proto::decode(&message.bytes).step("read a request").and_then(|request| make(&single, &request));
        let (reply, fds) = match &made {
            Ok(namespaces) => (NamespaceReply::Made, namespaces.each_ref().map(AsFd::as_fd).to_vec()),
            Err(failure) => (NamespaceReply::Failed(failure.clone()), Vec::new()),
        };
        sys::send(socket.as_fd(), &proto::encode(&reply), &fds, MsgFlags::empty()).step("send")?;
    }
    Ok(())
}

/// Makes the pair: a child is born in both, the maps are written from outside, the child does what only a process
/// inside can, and is gone again once its namespaces are held.
fn make(single: &SingleThreaded, request: &NamespaceRequest) -> Step<[OwnedFd; 2]> {
    let (go_in, go_out) = pipe2(OFlag::O_CLOEXEC).step("make a pipe")?;
    let (done_in, done_out) = pipe2(OFlag::O_CLOEXEC).step("make a pipe")?;
    let namespaces = (libc::CLONE_NEWUSER | libc::CLONE_NEWNET).cast_unsigned().into();
    let fork = || single.fork(CloneTarget { namespaces, cgroup: None }).step("clone a process into the namespaces");
    match as_owner(request.owner, fork)? {
        Cloned::Child => {
            drop((go_out, done_in));
            let outcome = prepare(go_in);
            drop(File::from(done_out).write_all(&proto::encode(&outcome.err())));
            std::process::exit(0)
        }
        Cloned::Parent { pid, .. } => {
            drop((go_in, done_out));
            let made = oversee(pid, request.base, go_out, done_in);
            let _ = waitpid(pid, None);
            made
        }
    }
}

/// Makes the namespaces as a user of the host that no one else is.
///
/// What the kernel counts for each user (inotify instances, bytes of message queues, pending signals) it counts for the
/// owner of a user namespace as well, by the limits of the host: with root as the owner of all, one sandbox could use up
/// what root and every other sandbox have.
fn as_owner(owner: u32, make: impl FnOnce() -> Step<Cloned>) -> Step<Cloned> {
    seteuid(Uid::from_raw(owner)).step("seteuid(owner of the namespaces)")?;
    // The change has cleared the effective set; some hosts let only who has this one make user namespaces.
    let raised = caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).step("capset(CAP_SYS_ADMIN)");
    let made = raised.and_then(|()| make());
    if !matches!(made, Ok(Cloned::Child)) {
        seteuid(Uid::from_raw(0)).step("seteuid(0)")?;
        end_with_daemon()?;
    }
    made
}

/// To be asked for again after each change of the user id, which clears it (prctl(2)).
fn end_with_daemon() -> Step<()> {
    sys::set_parent_death_signal(libc::SIGKILL).step("prctl(PR_SET_PDEATHSIG)")
}

fn oversee(pid: Pid, base: u32, go: OwnedFd, done: OwnedFd) -> Step<[OwnedFd; 2]> {
    let user = File::open(format!("/proc/{pid}/ns/user")).step("open the user namespace")?;
    let network = File::open(format!("/proc/{pid}/ns/net")).step("open the network namespace")?;
    write_map(pid, "uid_map", base)?;
    write_map(pid, "gid_map", base)?;
    File::from(go).write_all(b"!").step("tell the child to go on")?;
    let mut report = Vec::new();
    File::from(done).read_to_end(&mut report).step("hear from the child")?;
    match proto::decode::<Option<StepFailure>>(&report).step("hear from the child")? {
        None => Ok([user.into(), network.into()]),
        Some(failure) => Err(failure),
    }
}

/// Writes a map and reads it back. Host id 0 is refused here as well: root of a namespace that holds it could write
/// the settings of the whole host.
fn write_map(pid: Pid, name: &str, base: u32) -> Step<()> {
    let step = format!("write {name}");
    if base < IDS {
        let error = format!("id base {base} is below {IDS}");
        return Err(StepFailure { step, error, kind: FailureKind::Internal });
    }
    let path = format!("/proc/{pid}/{name}");
    fs::write(&path, format!("0 {base} {IDS}\n")).step(&step)?;
    let written = fs::read_to_string(&path).step(&step)?;
    if written.split_whitespace().eq(["0", &base.to_string(), &IDS.to_string()]) {
        Ok(())
    } else {
        Err(StepFailure { step, error: format!("{path} reads {written:?}"), kind: FailureKind::Internal })
    }
}

/// Inside: waits for the maps, then brings the loopback up and closes the namespace for further ones.
fn prepare(go: OwnedFd) -> Step<()> {
    let mut byte = [0];
    File::from(go).read_exact(&mut byte).step("wait for the id maps")?;
    sys::bring_loopback_up().step("bring the loopback up")?;
    // As Docker: any user inside may serve on any port of its own network.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").step("open the low ports")?;
    // And any group may send echo requests without raw sockets.
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 65535").step("open echo requests to all groups")?;
    for kind in CLOSED {
        let path = format!("/proc/sys/user/max_{kind}_namespaces");
        // These files mean the namespace of whoever opens them (namespaces(7)); the host's own are not touched.
        fs::write(&path, "0").step(&format!("write {path}"))?;
    }
    Ok(())
}
