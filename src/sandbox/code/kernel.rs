//! The process of a context.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use super::actor::{Actor, Pipes, Work};
use super::budget::Budget;
use super::{CodeError, CodeEvent, Language};
use crate::model::Exit;
use crate::sandbox::commands::pipes;
use crate::sandbox::{ExecError, Execution, Inside, Job, Order, Program};
use crate::sys;

/// How long an interpreter may take to be ready: a first start reads much from a disk.
const START: Duration = Duration::from_secs(60);

/// Events that wait for a slow listener. When all are full the code waits.
const WAITING: usize = 4;

#[derive(Debug)]
pub struct Kernel {
    language: Language,
    execution: Execution,
    work: mpsc::Sender<Work>,
    facts: Arc<Facts>,
}

/// What the actor and those who ask share.
#[derive(Debug)]
pub struct Facts {
    pub busy: AtomicBool,
    /// The runner has said that an interrupt ends the run now.
    pub begun: AtomicBool,
    /// The run that somebody wants to end.
    pub interrupted: AtomicU64,
    pub deleted: AtomicBool,
    /// Numbers of runs; they differ from those of an earlier daemon, whose runs may still be going on.
    next_run: AtomicU64,
}

impl Facts {
    fn new() -> Arc<Self> {
        // In microseconds: the largest whole number of JavaScript has 53 bits.
        let first = u64::try_from(sys::unix_nanos() / 1000).unwrap_or(1);
        let no = || AtomicBool::new(false);
        let busy = AtomicBool::new(true);
        Arc::new(Self {
            busy,
            begun: no(),
            interrupted: AtomicU64::new(0),
            deleted: no(),
            next_run: AtomicU64::new(first),
        })
    }

    fn next_run(&self) -> u64 {
        self.next_run.fetch_add(1, Ordering::Relaxed)
    }
}

impl Kernel {
    /// Starts the image's interpreter and waits until its runner answers.
    pub async fn start(
        inside: &Inside,
        budget: &Budget,
        language: Language,
        defaults: Program,
        label: String,
    ) -> Result<Self, CodeError> {
        let (order, pipes) = order(language, defaults, label).map_err(|error| ExecError::Host(error.to_string()))?;
        let execution = match inside.start(order).await {
            Ok(started) => started.execution,
            Err(ExecError::NotFound(_)) => return Err(CodeError::Missing(language.missing())),
            Err(error) => return Err(error.into()),
        };
        let mut request = language.opening();
        let (kernel, ready) = Self::attend((inside, budget), language, execution, pipes, &mut request);
        let answered = tokio::time::timeout(START, ready).await;
        let problem = match answered {
            Ok(Ok(None)) => return Ok(kernel),
            Ok(Ok(Some(problem))) => problem,
            Ok(Err(_)) => "it ended at once".to_owned(),
            Err(_) => format!("it was not ready after {} seconds", START.as_secs()),
        };
        kernel.delete();
        Err(CodeError::Missing(format!("{} cannot be run: {problem}", language.name())))
    }

    /// Takes over a process that an earlier daemon has started; it counts as busy until it answers.
    pub async fn adopt(inside: &Inside, budget: &Budget, language: Language, execution: Execution) -> Option<Self> {
        let kept = execution.kept().await.ok()?;
        let [stdout, stderr, replies, requests] = <[OwnedFd; 4]>::try_from(kept).ok()?;
        let receiver = |fd| pipes::receiver(fd).ok();
        let pipes = Pipes {
            stdout: receiver(stdout)?,
            stderr: receiver(stderr)?,
            replies: receiver(replies)?,
            requests: pipe::Sender::from_owned_fd(requests).ok()?,
        };
        let mut request = language.cut();
        let (kernel, _) = Self::attend((inside, budget), language, execution, pipes, &mut request);
        // What may be running has begun long ago.
        kernel.facts.begun.store(true, Ordering::SeqCst);
        Some(kernel)
    }

    fn attend(
        (inside, budget): (&Inside, &Budget),
        language: Language,
        execution: Execution,
        pipes: Pipes,
        request: &mut Vec<u8>,
    ) -> (Self, oneshot::Receiver<Option<String>>) {
        let facts = Facts::new();
        let (work, orders) = mpsc::channel(1);
        let (ready, answer) = oneshot::channel();
        let run = facts.next_run();
        request.extend(language.request(run, ""));
        let actor = Actor {
            language,
            inside: inside.clone(),
            execution: execution.clone(),
            facts: Arc::clone(&facts),
            budget: budget.clone(),
            pipes,
            work: orders,
        };
        tokio::spawn(actor.live(run, std::mem::take(request), ready));
        (Self { language, execution, work, facts }, answer)
    }

    /// Runs code; refused while a run is going on.
    pub async fn run(&self, code: &str) -> Result<mpsc::Receiver<CodeEvent>, CodeError> {
        self.facts
            .busy
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire)
            .map_err(|_| CodeError::Busy)?;
        let (listener, events) = mpsc::channel(WAITING);
        let run = self.facts.next_run();
        let work = Work { run, request: self.language.request(run, code), listener };
        // Whose actor is gone has ended just now: the events end without a word, and the stream says so.
        drop(self.work.send(work).await);
        Ok(events)
    }

    /// How its process ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<Exit> {
        self.execution.end().map(|ended| ended.exit)
    }

    /// What happens at Ctrl-C: to the process and to everything that it has started and waits for.
    pub fn interrupt(&self) -> Result<(), CodeError> {
        if !self.facts.busy.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.language == Language::Bash {
            tokio::spawn(insist(self.execution.clone(), Arc::clone(&self.facts)));
        } else {
            // One that comes before the code would end nothing; the actor sends it then.
            let run = self.facts.next_run.load(Ordering::SeqCst).saturating_sub(1);
            self.facts.interrupted.store(run, Ordering::SeqCst);
            if !self.facts.begun.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
        Ok(self.execution.signal(libc::SIGINT)?)
    }

    /// Kills it; nobody finds it again.
    pub fn delete(&self) {
        self.facts.deleted.store(true, Ordering::Release);
        drop(self.execution.signal(libc::SIGKILL));
        self.execution.forget();
    }
}

/// Bash passes over an interrupt when the program that it waits for ends well just then, and goes on with the next one.
async fn insist(execution: Execution, facts: Arc<Facts>) {
    const PAUSE: Duration = Duration::from_millis(200);
    const TIMES: u32 = 10;
    let run = facts.next_run.load(Ordering::Relaxed);
    for _ in 0..TIMES {
        tokio::time::sleep(PAUSE).await;
        let same = run == facts.next_run.load(Ordering::Relaxed) && facts.busy.load(Ordering::Acquire);
        if !same || execution.signal(libc::SIGINT).is_err() {
            return;
        }
    }
}

/// The order for PID 1, and our ends of the pipes.
fn order(language: Language, defaults: Program, label: String) -> std::io::Result<(Order, Pipes)> {
    let (stdout, stderr, replies) = (pipes::output()?, pipes::output()?, pipes::output()?);
    let (their_requests, our_requests) = pipe2(OFlag::O_CLOEXEC)?;
    let kept = vec![stdout.kept, stderr.kept, replies.kept, our_requests.try_clone()?];
    let mut fds = vec![(stdout.theirs, 1), (stderr.theirs, 2), (replies.theirs, 61)];
    fds.push((their_requests, language.input()));
    if let Some(source) = language.source() {
        fds.push((sys::memfd(c"runner", source.as_bytes()).map_err(std::io::Error::other)?, 62));
    }
    let job = Job::Program(Box::new(language.program(defaults)));
    let requests = pipe::Sender::from_owned_fd(our_requests)?;
    let pipes = Pipes { stdout: stdout.ours, stderr: stderr.ours, replies: replies.ours, requests };
    Ok((Order { fds, kept, label, ..Order::new(job) }, pipes))
}
