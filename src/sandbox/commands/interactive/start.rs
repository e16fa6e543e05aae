//! Starting the process, taking it over from an earlier daemon, and ending it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::input::Input;
use super::pump::{self, Flow};
use super::source::Source;
use super::{Interactive, Mode, Running};
use crate::sandbox::commands::label::{Kind, Label};
use crate::sandbox::commands::shelf::io_failed;
use crate::sandbox::commands::{Stream, pipes};
use crate::sandbox::{ExecError, Execution, Job, Order, Started, WindowSize};
use crate::sys;

/// Output that a patient program may be ahead of its reader: half of what is kept, so that a reader that comes back after
/// its connection broke finds what was on the way.
const AHEAD: u64 = super::store::KEEP_FOR_PATIENT / 2;

/// How long what is deleted may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// What moves: sources of output, and where input goes.
struct Ends {
    sources: Vec<Source>,
    input: Input,
}

pub async fn start(process: &Interactive, mode: Mode) -> Result<Running, ExecError> {
    match mode {
        Mode::Terminal(size) => with_terminal(process, size).await,
        Mode::Pipes => with_pipes(process).await,
    }
}

fn order(process: &Interactive, kind: Kind) -> Order {
    let program = process.blueprint.program.clone();
    let label = Label { kind, content: program.process.argv.join(" "), started_unix_nanos: sys::unix_nanos() };
    let job = Job::Program(Box::new(program));
    Order { id: process.id.clone(), label: label.to_text(), ..Order::new(job) }
}

async fn with_terminal(process: &Interactive, size: WindowSize) -> Result<Running, ExecError> {
    let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| io_failed(errno.into()))?;
    let kept = vec![out.try_clone().map_err(io_failed)?, into.try_clone().map_err(io_failed)?];
    let order = Order { kept, terminal: Some(size), ..order(process, Kind::Terminal) };
    let Started { execution, terminal } = process.inside.start(order).await?;
    let master = terminal.ok_or_else(|| ExecError::Host("no terminal came back".to_owned()))?;
    let ends = terminal_ends(out, into, master).map_err(io_failed)?;
    Ok(run(process, execution, true, ends))
}

async fn with_pipes(process: &Interactive) -> Result<Running, ExecError> {
    let (stdout, stderr) = (pipes::output().map_err(io_failed)?, pipes::output().map_err(io_failed)?);
    let mut fds = vec![(stdout.theirs, 1), (stderr.theirs, 2)];
    let mut kept = vec![stdout.kept, stderr.kept];
    let mut input = Input::default();
    if process.blueprint.stdin {
        let stdin = pipes::input().map_err(io_failed)?;
        fds.push((stdin.theirs, 0));
        kept.push(stdin.kept);
        input = Input::new(Arc::new(sys::watch(stdin.ours).map_err(io_failed)?));
    }
    let order = Order { fds, kept, ..order(process, Kind::Piped) };
    let Started { execution, .. } = process.inside.start(order).await?;
    let source = |stream, ours: tokio::net::unix::pipe::Receiver| {
        ours.into_nonblocking_fd().and_then(|fd| Source::pipe(stream, fd)).map_err(io_failed)
    };
    let sources = vec![source(Stream::Stdout, stdout.ours)?, source(Stream::Stderr, stderr.ours)?];
    Ok(run(process, execution, false, Ends { sources, input }))
}

/// Goes on with a process that an earlier daemon has started.
pub async fn take_over(process: &Interactive, execution: Execution, kind: Kind) -> Result<Running, ExecError> {
    let has_terminal = kind == Kind::Terminal;
    let kept = execution.kept().await?;
    let ends = if has_terminal { kept_terminal(kept) } else { kept_pipes(kept) };
    Ok(run(process, execution, has_terminal, ends.map_err(io_failed)?))
}

/// Nothing is kept any more of one whose output has ended.
fn kept_terminal(kept: Vec<OwnedFd>) -> io::Result<Ends> {
    let mut kept = kept.into_iter();
    match (kept.next(), kept.next(), kept.next()) {
        (Some(out), Some(into), Some(master)) => terminal_ends(out, into, master),
        _ => Ok(Ends { sources: Vec::new(), input: Input::default() }),
    }
}

fn kept_pipes(kept: Vec<OwnedFd>) -> io::Result<Ends> {
    let mut ends = Ends { sources: Vec::new(), input: Input::default() };
    let mut streams = [Stream::Stdout, Stream::Stderr].into_iter();
    for fd in kept {
        let access = fcntl(&fd, FcntlArg::F_GETFL).map(|flags| flags & libc::O_ACCMODE);
        if access == Ok(libc::O_WRONLY) {
            ends.input = Input::new(Arc::new(sys::watch(fd)?));
        } else if let Some(stream) = streams.next() {
            ends.sources.push(Source::pipe(stream, fd)?);
        }
    }
    Ok(ends)
}

fn terminal_ends(out: OwnedFd, into: OwnedFd, master: OwnedFd) -> io::Result<Ends> {
    let master = Arc::new(sys::watch(master)?);
    let input = Input::new(Arc::clone(&master));
    Ok(Ends { sources: vec![Source::terminal(master, out, into)], input })
}

fn run(process: &Interactive, execution: Execution, has_terminal: bool, ends: Ends) -> Running {
    let Ends { sources, input } = ends;
    let input = Arc::new(input);
    let flow = Flow {
        execution: execution.clone(),
        inside: process.inside.clone(),
        tape: Arc::clone(&process.tape),
        seat: Arc::clone(&process.seat),
        unseen: process.blueprint.patient.then_some(AHEAD),
    };
    let (done, close) = (execution.clone(), Arc::clone(&input));
    let over = pump::follow(flow, sources, move || {
        close.close();
        done.release();
    });
    Running { execution, has_terminal, input, over }
}

/// Ends a process: a shell tells its children of a SIGHUP, and nothing outlives a SIGKILL.
pub fn end(execution: Execution) {
    tokio::spawn(async move {
        if execution.end().is_none() && execution.signal(libc::SIGHUP).is_ok() {
            drop(tokio::time::timeout(FAREWELL, execution.ended()).await);
        }
        drop(execution.signal(libc::SIGKILL));
        execution.ended().await;
        execution.forget();
    });
}
