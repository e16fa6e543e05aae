//! The way of a process that was asked for from the fork to its program.
//!
//! It is a child of PID 1, which is in the sandbox's user namespace already, so there is less to give up than for the
//! entrypoint. It says to PID 1 what went wrong, or hands it the master of its terminal; the end of the conversation
//! means that the program was executed.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::MsgFlags;

use super::environment::Environment;
use crate::agent::executable::Executable;
use crate::agent::step::{Named, Step};
use crate::agent::user::Identity;
use crate::agent::{files, tenant, user};
use crate::proto::{self, ExecPlan, FailureKind, Job, Process, Program, SeedPlan, StepFailure, WindowSize};
use crate::sys::{self, Instruction};

/// Descriptors are parked from this number on until they get the numbers that the plan says, which are below it.
const PARKED: RawFd = 64;

/// Where a file servant has its socket.
const FILES: RawFd = 3;

/// What the child of a fork has.
#[derive(Debug)]
pub struct Birth<'a> {
    pub seed: &'a SeedPlan,
    pub filter: &'a [Instruction],
    pub joins: &'a [OwnedFd],
    pub plan: &'a ExecPlan,
    /// One for each of the plan's targets.
    pub sources: Vec<OwnedFd>,
}

/// Lives until the program takes over; never comes back to the parent's code.
pub fn live(birth: Birth<'_>, word: OwnedFd) -> ! {
    if let Ok(word) = park(word) {
        let failure = grow_up(birth, &word).unwrap_or_else(|failure| failure);
        drop(sys::send(word.as_fd(), &proto::encode(&failure), &[], MsgFlags::empty()));
    }
    end()
}

fn grow_up(birth: Birth<'_>, word: &OwnedFd) -> Step<StepFailure> {
    let Birth { seed, filter, joins, plan, sources } = birth;
    let needed = sources.iter().chain(joins).chain([word]).map(AsRawFd::as_raw_fd);
    keep_only(needed.collect())?;
    tenant::join_cgroups(joins)?;
    tenant::leave_session()?;
    tenant::set_limits(seed)?;
    let sources = sources.into_iter().map(park).collect::<Step<Vec<_>>>()?;
    // Before any path of the sandbox is looked at: it may name a descriptor.
    keep_only(sources.iter().chain([word]).map(AsRawFd::as_raw_fd).collect())?;
    tenant::confine(seed, filter)?;
    silence()?;
    match &plan.job {
        Job::Program(program) => {
            let who = user::resolve(&program.process.user).step_of(FailureKind::User, "find the user")?;
            tenant::drop_privileges(seed, &who)?;
            if let Some(size) = plan.terminal {
                take_terminal(size, word.as_fd())?;
            }
            let executables = prepare(program, &who, plan.terminal.is_some())?;
            place(&sources, &plan.targets)?;
            Ok(execute(&executables))
        }
        Job::Files(program) => {
            let who = user::resolve(&program.process.user).step_of(FailureKind::User, "find the user")?;
            tenant::drop_privileges(seed, &who)?;
            place(&sources, &plan.targets)?;
            serve_files(program, &who)
        }
    }
}

/// Comes back only with a failure. PID 1 hears the end of the conversation, as if a program had been executed.
fn serve_files(program: &Program, who: &Identity) -> Step<StepFailure> {
    let socket = sys::adopt_fd(FILES).step("serve files")?;
    keep_only(vec![FILES])?;
    files::Servant::new(socket, program, &who.home).serve();
    end()
}

/// Nothing of the parent's copied state may run at exit.
fn end() -> ! {
    nix::sys::signal::raise(nix::sys::signal::SIGKILL).ok();
    std::process::exit(127)
}

fn keep_only(mut keep: Vec<RawFd>) -> Step<()> {
    keep.extend([0, 1, 2]);
    sys::close_all_but(&keep).step("close the descriptors of PID 1")
}

fn park(fd: OwnedFd) -> Step<OwnedFd> {
    let number = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(PARKED)).step("fcntl(F_DUPFD_CLOEXEC)")?;
    sys::adopt_fd(number).step("park a descriptor")
}

/// What the launcher has as its standard streams is of the host.
fn silence() -> Step<()> {
    let null = File::options().read(true).write(true).open("/dev/null").step("open /dev/null")?;
    for target in 0..=2 {
        sys::move_fd(null.as_fd(), target).step("take the standard streams")?;
    }
    Ok(())
}

/// A new terminal as the standard streams; its master goes to PID 1.
pub fn take_terminal(size: WindowSize, word: BorrowedFd<'_>) -> Step<()> {
    let sys::Terminal { master, slave } = sys::open_terminal().step("make the terminal")?;
    sys::set_window_size(master.as_fd(), size.columns, size.rows).step("make the terminal")?;
    sys::take_terminal(slave.as_fd()).step("make the terminal")?;
    for target in 0..=2 {
        sys::move_fd(slave.as_fd(), target).step("take the standard streams")?;
    }
    sys::send(word, b"terminal", &[master.as_fd()], MsgFlags::empty()).step("hand out the terminal")
}

fn place(sources: &[OwnedFd], targets: &[RawFd]) -> Step<()> {
    for (source, target) in sources.iter().zip(targets) {
        if !(0..PARKED).contains(target) {
            return Err(format!("descriptor {target} is not below {PARKED}")).step("place the descriptors");
        }
        sys::move_fd(source.as_fd(), *target).step("place the descriptors")?;
    }
    sys::cloexec_from(PARKED).step("mark descriptors close-on-exec")
}

fn prepare(program: &Program, who: &Identity, has_terminal: bool) -> Step<Vec<Executable>> {
    let env = Environment::assemble(program, &who.home, has_terminal);
    let (kind, step) = (FailureKind::WorkingDirectory, "find the working directory");
    let cwd = env.path(&program.process.cwd).step_of(kind, step)?;
    tenant::enter_working_directory(&cwd)?;
    let env = env.entries();
    let argvs = [Some(&program.process.argv), program.otherwise.as_ref()].into_iter().flatten();
    let executable = |argv: &Vec<String>| {
        let (user, cwd) = (program.process.user.clone(), cwd.clone());
        Executable::new(&Process { argv: argv.clone(), env: env.clone(), user, cwd }, who)
    };
    argvs.map(executable).collect()
}

/// Comes back with why none of them could be executed: the first that is there, or else the last.
fn execute(executables: &[Executable]) -> StepFailure {
    let mut failure = None;
    for executable in executables {
        let failed = executable.execute();
        let there = failed.kind != FailureKind::NotFound;
        failure = Some(failed);
        if there {
            break;
        }
    }
    failure.unwrap_or_else(|| StepFailure {
        step: "execute the program".to_owned(),
        error: "there is none".to_owned(),
        kind: FailureKind::NotFound,
    })
}
