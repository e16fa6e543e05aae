//! The entrypoint: a child of PID 1, born in the workload's cgroup, that gives up everything it does not need, waits to
//! be told what to run, and then becomes the program.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Pid, pipe2};

use super::executable::Executable;
use super::step::{Named, Step};
use super::{exec, tenant, user};
use crate::model::Interaction;
use crate::proto::{self, FailureKind, MAX_CONTROL_BYTES, Process, SeedPlan, StepFailure, WindowSize};
use crate::sys::{self, CloneTarget, Cloned, Instruction, SingleThreaded};

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
    word: OwnedFd,
    outputs: Outputs,
}

/// A program that was executed.
#[derive(Debug)]
pub struct Born {
    pub pid: Pid,
    pub outputs: Outputs,
    /// The writing end of its input, or the master of its terminal.
    pub handed: Option<OwnedFd>,
}

/// The nursling's own ends. Its word is what went wrong, or a descriptor for PID 1; the end of the conversation means that
/// the program was executed.
struct Cradle {
    order: OwnedFd,
    word: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Forks a nursling, as real root still: from here on it goes its own way into the sandbox.
pub fn raise(single: &SingleThreaded, plan: &SeedPlan, place: Place<'_>, filter: &[Instruction]) -> Step<Nursling> {
    let pipe = || pipe2(OFlag::O_CLOEXEC).step("make the pipes of the entrypoint");
    let (order_in, order) = pipe()?;
    let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
    let (word, their_word) = pair.step("make the pipes of the entrypoint")?;
    let ((stdout, stdout_in), (stderr, stderr_in)) = (pipe()?, pipe()?);
    for writable in [&stdout_in, &stderr_in] {
        // Whoever is inside may open the writing ends by name, as `/dev/stdout`, and nobody the reading ends: the pipes belong
        // to an id that is mapped to nobody there.
        fchmod(writable, Mode::from_bits_truncate(0o222)).step("let all write to the output pipes")?;
    }
    let cradle = Cradle { order: order_in, word: their_word, stdout: stdout_in, stderr: stderr_in };
    let target = CloneTarget { namespaces: 0, cgroup: Some(place.cgroup) };
    match single.fork(target).step("clone the entrypoint")? {
        Cloned::Child => live(plan, place, &cradle, filter),
        Cloned::Parent { pid, .. } => Ok(Nursling { pid, order, word, outputs: Outputs { stdout, stderr } }),
    }
}

impl Nursling {
    /// Has it become the program; returns once that was executed.
    pub fn execute(self, process: &Process, interaction: Interaction) -> Step<Born> {
        let Self { pid, order, word, outputs } = self;
        // One that has died already has said why.
        let told = File::from(order).write_all(&proto::encode(&(process, interaction))).step("tell the program");
        let mut handed = None;
        while let Some(mut message) =
            sys::receive(word.as_fd(), MAX_CONTROL_BYTES, MsgFlags::empty()).step("wait for exec")?
        {
            if message.fds.is_empty() {
                return Err(proto::decode(&message.bytes)
                    .step("hear of the failure")
                    .unwrap_or_else(|failure| failure));
            }
            handed = message.fds.pop();
        }
        told.map(|()| Born { pid, outputs, handed })
    }
}

/// The nursling's life; it never comes back to its parent's code.
fn live(plan: &SeedPlan, place: Place<'_>, cradle: &Cradle, filter: &[Instruction]) -> ! {
    let mut failure = grow_up(plan, place, cradle, filter).unwrap_or_else(|failure| failure);
    // It names what was asked for, which may be longer than a message.
    failure.error = failure.error.chars().take(MAX_CONTROL_BYTES / 16).collect();
    drop(sys::send(cradle.word.as_fd(), &proto::encode(&failure), &[], MsgFlags::empty()));
    // Nothing of the parent's copied state may run at exit.
    nix::sys::signal::raise(nix::sys::signal::SIGKILL).ok();
    std::process::exit(127)
}

/// The way to exec; comes back only with what went wrong.
fn grow_up(plan: &SeedPlan, place: Place<'_>, cradle: &Cradle, filter: &[Instruction]) -> Step<StepFailure> {
    let joins = place.joins.iter().map(AsRawFd::as_raw_fd);
    keep_only(cradle, &joins.chain([place.user_namespace.as_raw_fd()]).collect::<Vec<_>>())?;
    tenant::join_cgroups(place.joins)?;
    tenant::leave_session()?;
    tenant::set_limits(plan)?;
    setns(place.user_namespace, CloneFlags::CLONE_NEWUSER).step("setns(user namespace)")?;
    // Before any path of an image is looked at: it may name a descriptor.
    keep_only(cradle, &[])?;
    tenant::confine(plan, filter)?;

    let Some((process, interaction)) = await_order(&cradle.order)? else { std::process::exit(0) };
    let who = user::resolve(&process.user).step_of(FailureKind::User, "find the user")?;
    tenant::make_working_directory(&process.cwd)?;
    take_streams(cradle, interaction)?;
    tenant::drop_privileges(plan, &who)?;
    if let Interaction::Terminal { columns, rows } = interaction {
        exec::take_terminal(WindowSize { columns, rows }, cradle.word.as_fd())?;
    }
    tenant::enter_working_directory(&process.cwd)?;
    let executable = Executable::new(&process, &who)?;
    sys::cloexec_from(3).step("mark descriptors close-on-exec")?;
    Ok(executable.execute())
}

/// Lets go of everything that is PID 1's but its own ends of the pipes and `needed`.
fn keep_only(cradle: &Cradle, needed: &[RawFd]) -> Step<()> {
    let Cradle { order, word, stdout, stderr } = cradle;
    let mut keep = vec![0, 1, 2];
    keep.extend([order, word, stdout, stderr].map(AsRawFd::as_raw_fd));
    keep.extend(needed);
    sys::close_all_but(&keep).step("close the descriptors of PID 1")
}

/// The program to become; `None` when PID 1 has closed its end without a word.
fn await_order(order: &OwnedFd) -> Step<Option<(Process, Interaction)>> {
    let mut bytes = Vec::new();
    let file = order.try_clone().step("wait for the program")?;
    File::from(file).read_to_end(&mut bytes).step("wait for the program")?;
    if bytes.is_empty() { Ok(None) } else { proto::decode(&bytes).step("wait for the program") }
}

fn take_streams(cradle: &Cradle, interaction: Interaction) -> Step<()> {
    let input = match interaction {
        Interaction::Input => make_input(cradle)?,
        _ => File::open("/dev/null").step("open /dev/null")?.into(),
    };
    for (source, target) in [(input.as_fd(), 0), (cradle.stdout.as_fd(), 1), (cradle.stderr.as_fd(), 2)] {
        sys::move_fd(source, target).step("take the standard streams")?;
    }
    Ok(())
}

/// A pipe whose writing end PID 1 gets.
fn make_input(cradle: &Cradle) -> Step<OwnedFd> {
    let step = "make the input of the entrypoint";
    let (input, writing) = pipe2(OFlag::O_CLOEXEC).step(step)?;
    // Whoever is inside may open the reading end by name, as `/dev/stdin`.
    fchmod(&input, Mode::from_bits_truncate(0o444)).step(step)?;
    sys::send(cradle.word.as_fd(), b"input", &[writing.as_fd()], MsgFlags::empty()).step(step)?;
    Ok(input)
}
