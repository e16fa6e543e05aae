//! Processes beside the entrypoint: PID 1 forks them, keeps what a later daemon needs of them, and tells how they end.
//!
//! Their output never passes through PID 1: the daemon made the pipes, and PID 1 only keeps copies of its ends, so that
//! nobody inside is killed by a broken pipe while no daemon is there.

mod child;
mod environment;

pub use child::take_terminal;
pub use environment::Environment;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use super::read_plan;
use super::step::{Named, Step};
use crate::model::{ExecId, Exit};
use crate::proto::{
    self, ExecPlan, ExecState, FailureKind, LABEL_BYTES, MAX_CONTROL_BYTES, Report, SeedPlan, StepFailure,
};
use crate::sys::{self, CloneTarget, Cloned, Instruction, SingleThreaded};

/// Executions that PID 1 knows at a time, ended ones that were not forgotten among them: each costs it memory and up to
/// a few descriptors.
const MOST: usize = 4096;

/// What new processes are made with.
#[derive(Debug)]
pub struct Nursery<'a> {
    pub single: &'a SingleThreaded,
    pub filter: &'a [Instruction],
    pub seed: SeedPlan,
    pub cgroup: OwnedFd,
    /// `tasks` of the version 1 hierarchies that the workload joins.
    pub joins: Vec<OwnedFd>,
}

#[derive(Debug)]
pub struct Execs<'a> {
    nursery: Nursery<'a>,
    known: BTreeMap<ExecId, Exec>,
    /// What the daemon could not take yet, in order.
    unsaid: VecDeque<Report>,
}

#[derive(Debug)]
struct Exec {
    label: String,
    pid: Pid,
    /// Open until the program was executed.
    word: Option<OwnedFd>,
    kept: Vec<OwnedFd>,
    terminal: Option<OwnedFd>,
    ended: Option<(Exit, i64)>,
    /// The daemon wants nothing of it any more, and it runs still.
    forgotten: bool,
}

impl<'a> Execs<'a> {
    pub fn new(nursery: Nursery<'a>) -> Self {
        Self { nursery, known: BTreeMap::new(), unsaid: VecDeque::new() }
    }

    /// Knows the entrypoint as an execution of which this can be handed out: its input, or its terminal.
    pub fn know_entrypoint(&mut self, pid: Pid, handed: Option<OwnedFd>, is_terminal: bool) {
        let (kept, terminal) = if is_terminal { (Vec::new(), handed) } else { (handed.into_iter().collect(), None) };
        let label = "entrypoint".to_owned();
        let exec = Exec { label, pid, word: None, kept, terminal, ended: None, forgotten: false };
        self.known.insert(ExecId::entrypoint(), exec);
    }

    /// Starts what came with a command; a failure is reported.
    pub fn start(&mut self, id: ExecId, fds: Vec<OwnedFd>) {
        match self.fork(&id, fds) {
            Ok(exec) => drop(self.known.insert(id, exec)),
            Err(failure) => self.say(Report::NotStarted { id, failure }),
        }
    }

    fn fork(&self, id: &ExecId, fds: Vec<OwnedFd>) -> Step<Exec> {
        let step = "start a process";
        if self.known.contains_key(id) || self.known.len() >= MOST {
            return Err(format!("{MOST} executions are known, or this one is")).step(step);
        }
        let mut fds = fds.into_iter();
        let plan = fds.next().ok_or("no descriptor came").step(step)?;
        let plan: ExecPlan = read_plan(&plan)?;
        let sources: Vec<OwnedFd> = fds.by_ref().take(plan.targets.len()).collect();
        if sources.len() < plan.targets.len() || plan.label.len() > LABEL_BYTES {
            return Err("descriptors are missing, or the label is too long").step(step);
        }
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC);
        let (word, theirs) = pair.step(step)?;
        let Nursery { single, filter, seed, cgroup, joins } = &self.nursery;
        let target = CloneTarget { namespaces: 0, cgroup: Some(cgroup.as_fd()) };
        match single.fork(target).step(step)? {
            Cloned::Child => child::live(child::Birth { seed, filter, joins, plan: &plan, sources }, theirs),
            Cloned::Parent { pid, .. } => Ok(Exec {
                label: plan.label,
                pid,
                word: Some(word),
                kept: fds.collect(),
                terminal: None,
                ended: None,
                forgotten: false,
            }),
        }
    }

    /// The sockets of the processes that are not executed yet.
    pub fn words(&self) -> impl Iterator<Item = (&ExecId, BorrowedFd<'_>)> {
        self.known.iter().filter_map(|(id, exec)| Some((id, exec.word.as_ref()?.as_fd())))
    }

    /// Hears what a new process has to say, without waiting for it.
    pub fn hear(&mut self, id: &ExecId) {
        while let Some(exec) = self.known.get_mut(id)
            && let Some(word) = &exec.word
        {
            match sys::receive(word.as_fd(), MAX_CONTROL_BYTES, MsgFlags::MSG_DONTWAIT) {
                Err(error) if error.errno == Errno::EAGAIN => return,
                Ok(Some(mut message)) if !message.fds.is_empty() => exec.terminal = message.fds.pop(),
                Ok(Some(message)) => {
                    let failure = proto::decode(&message.bytes).step("hear of the failure");
                    self.known.remove(id);
                    let failure = failure.unwrap_or_else(|failure| failure);
                    self.say(Report::NotStarted { id: id.clone(), failure });
                }
                Ok(None) | Err(_) => {
                    exec.word = None;
                    self.say(Report::Started { id: id.clone() });
                }
            }
        }
    }

    /// Takes in the end of a process; nothing when it is none of these.
    pub fn ended(&mut self, pid: Pid, exit: Exit) {
        let found = self.known.iter().find(|(_, exec)| exec.pid == pid && exec.ended.is_none());
        let Some(id) = found.map(|(id, _)| id.clone()) else { return };
        // Its last word, if nobody has listened yet.
        self.hear(&id);
        let Some(exec) = self.known.get_mut(&id) else { return };
        let at_unix_nanos = sys::unix_nanos();
        exec.ended = Some((exit, at_unix_nanos));
        if exec.forgotten {
            self.known.remove(&id);
        } else {
            self.say(Report::Ended { id, exit, at_unix_nanos });
        }
    }

    /// To the whole group: a shell's children are meant as well.
    pub fn signal(&self, id: &ExecId, signal: i32) {
        if let Some(exec) = self.known.get(id)
            && let Ok(signal) = Signal::try_from(signal)
            && exec.ended.is_none()
            && killpg(exec.pid, signal).is_err()
        {
            // It has not made its group yet.
            let _ = kill(exec.pid, signal);
        }
    }

    pub fn release(&mut self, id: &ExecId) {
        if let Some(exec) = self.known.get_mut(id) {
            exec.kept.clear();
            exec.terminal = None;
        }
    }

    pub fn release_last(&mut self, id: &ExecId) {
        if let Some(exec) = self.known.get_mut(id) {
            drop(exec.kept.pop());
        }
    }

    pub fn forget(&mut self, id: &ExecId) {
        self.release(id);
        if let Some(exec) = self.known.get_mut(id) {
            exec.forgotten = true;
            if exec.ended.is_some() {
                self.known.remove(id);
            }
        }
    }

    pub fn hand_out(&mut self, id: &ExecId) {
        self.say(Report::Kept { id: id.clone() });
    }

    /// As many as surely fit a message.
    pub fn tell(&mut self, after: Option<&ExecId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Vec::new();
        let mut bytes = 0;
        for (id, exec) in self.known.range::<ExecId, _>((from, Bound::Unbounded)) {
            // A character of a label may be written as six.
            bytes += 256 + exec.label.len() + exec.label.chars().filter(|c| c.is_control() || *c == '"').count() * 6;
            if bytes > MAX_CONTROL_BYTES && !page.is_empty() {
                break;
            }
            if !exec.forgotten {
                page.push(ExecState { id: id.clone(), label: exec.label.clone(), ended: exec.ended });
            }
        }
        self.say(Report::Execs(page));
    }

    /// Puts a report behind those that wait; [`speak`](Self::speak) sends them.
    pub fn say(&mut self, report: Report) {
        self.unsaid.push_back(report);
    }

    /// Sends what can be sent; true when something waits for room in the socket.
    pub fn speak(&mut self, control: BorrowedFd<'_>) -> bool {
        while let Some(report) = self.unsaid.front() {
            let bytes = proto::encode(report);
            let sent = if bytes.len() > MAX_CONTROL_BYTES {
                sys::send(control, &proto::encode(&shortened(report)), &[], MsgFlags::MSG_DONTWAIT)
            } else {
                sys::send(control, &bytes, &self.with(report), MsgFlags::MSG_DONTWAIT)
            };
            match sent {
                Err(error) if error.errno == Errno::EAGAIN => return true,
                _ => drop(self.unsaid.pop_front()),
            }
        }
        false
    }

    fn with(&self, report: &Report) -> Vec<BorrowedFd<'_>> {
        let exec = |id| self.known.get(id).into_iter();
        match report {
            Report::Started { id } => exec(id).filter_map(|exec| exec.terminal.as_ref()).map(AsFd::as_fd).collect(),
            Report::Kept { id } => {
                exec(id).flat_map(|exec| exec.kept.iter().chain(&exec.terminal)).map(AsFd::as_fd).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A report whose text is longer than a message: the beginning has to do.
fn shortened(report: &Report) -> Report {
    match report {
        Report::NotStarted { id, failure } => {
            let error = failure.error.chars().take(1024).collect();
            let step = failure.step.chars().take(128).collect();
            Report::NotStarted { id: id.clone(), failure: StepFailure { step, error, kind: failure.kind } }
        }
        Report::Failed(failure) => {
            let error = failure.error.chars().take(1024).collect();
            Report::Failed(StepFailure { step: failure.step.clone(), error, kind: failure.kind })
        }
        _ => Report::Failed(StepFailure {
            step: "report".to_owned(),
            error: "a report was too long".to_owned(),
            kind: FailureKind::Internal,
        }),
    }
}
