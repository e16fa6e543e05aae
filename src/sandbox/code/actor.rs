//! What goes on between the daemon and the process of a context, in one task.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::budget::Budget;
use super::frame::{Frames, Said, What};
use super::kernel::Facts;
use super::{CodeEnd, CodeEvent, Language};
use crate::model::Exit;
use crate::sandbox::commands::{Stream, pipes};
use crate::sandbox::{Execution, Inside};

/// Bytes read from a pipe at a time. Several pieces wait for a slow client, in each of many contexts, and what is told of
/// one may be six times its size.
const CHUNK: usize = 16 << 10;

/// What may be in a pipe that the code has made as large as it can; what comes after that was written later.
const PIPE: usize = 1 << 20;

/// How long the last words of a process that has ended wait for their place, while others hold all of it.
const LAST_PLACE: Duration = Duration::from_secs(5);

/// Of what an interpreter says that does not start, this much is passed on.
const LAST_WORDS: usize = 2048;

/// Our ends.
#[derive(Debug)]
pub struct Pipes {
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
    pub replies: pipe::Receiver,
    pub requests: pipe::Sender,
}

/// A run that was asked for.
#[derive(Debug)]
pub struct Work {
    pub run: u64,
    pub request: Vec<u8>,
    pub listener: mpsc::Sender<CodeEvent>,
}

#[derive(Debug)]
pub struct Actor {
    pub language: Language,
    pub inside: Inside,
    pub execution: Execution,
    pub facts: Arc<Facts>,
    pub budget: Budget,
    pub pipes: Pipes,
    pub work: mpsc::Receiver<Work>,
}

/// The run that is going on.
#[derive(Debug, Default)]
struct Current {
    run: u64,
    /// `None` once nobody listens: what is written then is thrown away.
    listener: Option<mpsc::Sender<CodeEvent>>,
    failure: Option<CodeEnd>,
}

#[derive(Debug)]
struct State {
    current: Option<Current>,
    ready: Option<oneshot::Sender<Option<String>>>,
    frames: Frames,
    outgoing: Vec<u8>,
    open: [bool; 3],
    last_words: Vec<u8>,
}

/// The pipes, as places in [`State::open`].
const STDOUT: usize = 0;
const STDERR: usize = 1;
const REPLIES: usize = 2;

impl Actor {
    /// Until the process has ended. `first` is the number of a run without code, which `request` holds: its end means
    /// that the runner waits for work, and `ready` is told, or what is in the way.
    pub async fn live(mut self, first: u64, request: Vec<u8>, ready: oneshot::Sender<Option<String>>) {
        let mut state = State {
            current: Some(Current { run: first, ..Current::default() }),
            ready: Some(ready),
            frames: Frames::default(),
            outgoing: request,
            open: [true; 3],
            last_words: Vec::new(),
        };
        let end = loop {
            let listener = state.current.as_ref().and_then(|current| current.listener.clone());
            let crowded = state.frames.needs_place();
            tokio::select! {
                phase = self.inside.left() => break CodeEnd::SandboxLeft(phase),
                _ = self.execution.ended() => break self.ended(&mut state).await,
                // Everybody who could ask for work is gone.
                work = self.work.recv(), if state.current.is_none() => match work {
                    Some(work) => self.begin(&mut state, work),
                    None => break CodeEnd::Deleted,
                },
                place = self.budget.place(), if crowded => place.into_iter().for_each(|place| state.frames.place(place)),
                _ = self.pipes.replies.readable(), if state.open[REPLIES] && !crowded => self.hear(&mut state).await,
                _ = self.pipes.stdout.readable(), if state.open[STDOUT] => {
                    self.pass(&mut state, STDOUT).await;
                }
                _ = self.pipes.stderr.readable(), if state.open[STDERR] => {
                    self.pass(&mut state, STDERR).await;
                }
                _ = self.pipes.requests.writable(), if !state.outgoing.is_empty() => self.write(&mut state),
                () = closed(listener.as_ref()), if listener.is_some() => {
                    if let Some(current) = &mut state.current {
                        current.listener = None;
                    }
                }
            }
        };
        self.finish(state, end).await;
    }

    fn begin(&self, state: &mut State, work: Work) {
        let Work { run, request, listener } = work;
        state.outgoing.extend(request);
        state.current = Some(Current { run, listener: Some(listener), failure: None });
    }

    fn write(&self, state: &mut State) {
        match self.pipes.requests.try_write(&state.outgoing) {
            Ok(written) => drop(state.outgoing.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // It has closed its end; what becomes of that is seen at the end of its replies.
            Err(_) => state.outgoing.clear(),
        }
    }

    async fn hear(&self, state: &mut State) {
        let mut chunk = vec![0; CHUNK];
        match self.pipes.replies.try_read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(read @ 1..) => {
                for said in state.frames.push(chunk.get(..read).unwrap_or_default()) {
                    self.take_in(state, said).await;
                }
            }
            // Without it there is no way to run anything.
            _ => {
                state.open[REPLIES] = false;
                drop(self.execution.signal(libc::SIGKILL));
            }
        }
    }

    async fn take_in(&self, state: &mut State, said: Said) {
        if let What::Failed { message } = said.what {
            tell_ready(state, Some(message));
            return;
        }
        if state.current.as_ref().is_none_or(|current| current.run != said.run) {
            return;
        }
        // What was written before this was said comes before it.
        self.drain(state).await;
        match said.what {
            What::Begun { count } => {
                self.facts.begun.store(true, Ordering::SeqCst);
                if self.facts.interrupted.load(Ordering::SeqCst) == said.run {
                    drop(self.execution.signal(libc::SIGINT));
                }
                send(state, CodeEvent::Count(count)).await;
            }
            What::Result(rich) => send(state, CodeEvent::Result(rich)).await,
            What::Error { ename, evalue, traceback } => {
                if let Some(current) = &mut state.current {
                    current.failure.get_or_insert(CodeEnd::Failed { ename, evalue, traceback });
                }
            }
            What::Done { status } => {
                let failure = state.current.as_mut().and_then(|current| current.failure.take());
                let success = if status == 0 { CodeEnd::Complete } else { CodeEnd::Status(status) };
                tell_ready(state, None);
                let listener = state.current.take().and_then(|current| current.listener);
                // Before the listener hears of the end: its next run is welcome.
                self.facts.begun.store(false, Ordering::SeqCst);
                self.facts.busy.store(false, Ordering::Release);
                if let Some(listener) = listener {
                    drop(listener.send(CodeEvent::Ended(failure.unwrap_or(success))).await);
                }
            }
            What::Failed { .. } => {}
        }
    }

    /// Passes on what the pipes of the output hold by now.
    async fn drain(&self, state: &mut State) {
        for which in [STDOUT, STDERR] {
            let mut left = PIPE;
            while left > 0 && state.open[which] {
                match self.pass(state, which).await {
                    Some(read @ 1..) => left = left.saturating_sub(read),
                    _ => break,
                }
            }
        }
    }

    /// One piece of output, and its size; `None` when there is none.
    async fn pass(&self, state: &mut State, which: usize) -> Option<usize> {
        let (stream, pipe) = match which {
            STDOUT => (Stream::Stdout, &self.pipes.stdout),
            _ => (Stream::Stderr, &self.pipes.stderr),
        };
        let mut chunk = vec![0; CHUNK];
        match pipes::read_now(pipe, &mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Ok(read @ 1..) => {
                chunk.truncate(read);
                if state.ready.is_some() && state.last_words.len() < LAST_WORDS {
                    state.last_words.extend_from_slice(&chunk);
                }
                send(state, CodeEvent::Output(stream, chunk)).await;
                Some(read)
            }
            _ => {
                state.open[which] = false;
                None
            }
        }
    }

    /// What the end of the process means for the run.
    async fn ended(&self, state: &mut State) -> CodeEnd {
        while state.open[REPLIES] {
            if state.frames.needs_place() {
                // How it ended is more than what it may have wanted to say still.
                let Ok(place) = timeout(LAST_PLACE, self.budget.place()).await else { break };
                place.into_iter().for_each(|place| state.frames.place(place));
            }
            let mut chunk = vec![0; CHUNK];
            let Ok(read @ 1..) = pipes::read_now(&self.pipes.replies, &mut chunk) else { break };
            for said in state.frames.push(chunk.get(..read).unwrap_or_default()) {
                self.take_in(state, said).await;
            }
        }
        self.drain(state).await;
        let exit = self.execution.end().map_or(Exit::Unknown, |ended| ended.exit);
        if self.facts.deleted.load(Ordering::Acquire) {
            return CodeEnd::Deleted;
        }
        match exit {
            Exit::Unknown if self.inside.has_left() => CodeEnd::SandboxLeft(self.inside.left().await),
            Exit::Code(code) if self.language == Language::Bash => CodeEnd::Status(code),
            exit => CodeEnd::Died(death(&self.inside, self.language, exit).await),
        }
    }

    async fn finish(self, mut state: State, end: CodeEnd) {
        let words = String::from_utf8_lossy(&state.last_words).trim().to_owned();
        let problem = match &end {
            CodeEnd::Died(how) => format!("{how}: {words}"),
            _ => format!("it ended at once: {words}"),
        };
        tell_ready(&mut state, Some(problem));
        if end == CodeEnd::Status(0) {
            let note = b"the shell of this context has ended; the next run begins with a fresh one\n".to_vec();
            send(&mut state, CodeEvent::Output(Stream::Stderr, note)).await;
        }
        let end = if end == CodeEnd::Status(0) { CodeEnd::Complete } else { end };
        send(&mut state, CodeEvent::Ended(end)).await;
        self.execution.release();
        // What it has left behind may go on writing, and must not die of it.
        tokio::join!(throw_away(&self.pipes.stdout, &self.inside), throw_away(&self.pipes.stderr, &self.inside));
    }
}

async fn closed(listener: Option<&mpsc::Sender<CodeEvent>>) {
    match listener {
        Some(listener) => listener.closed().await,
        None => std::future::pending().await,
    }
}

/// A slow listener holds everything up, and so, in the end, the code.
async fn send(state: &mut State, event: CodeEvent) {
    if let Some(current) = &mut state.current
        && let Some(listener) = &current.listener
        && listener.send(event).await.is_err()
    {
        current.listener = None;
    }
}

fn tell_ready(state: &mut State, problem: Option<String>) {
    if let Some(ready) = state.ready.take() {
        drop(ready.send(problem));
        state.last_words = Vec::new();
    }
}

async fn throw_away(pipe: &pipe::Receiver, inside: &Inside) {
    let mut chunk = vec![0; 4096];
    loop {
        match pipe.try_read(&mut chunk) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::select! {
                ready = pipe.readable() => if ready.is_err() { return },
                _ = inside.left() => return,
            },
            _ => return,
        }
    }
}

/// How a process ended, and what that means, in words.
pub async fn death(inside: &Inside, language: Language, exit: Exit) -> String {
    let name = language.name();
    let how = match exit {
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal(libc::SIGKILL) => match inside.oom_kills().await {
            Some(1..) => "was killed by signal 9, and the sandbox has run out of memory".to_owned(),
            _ => "was killed by signal 9".to_owned(),
        },
        Exit::Signal(signal) => format!("was killed by signal {signal}"),
        Exit::Unknown => "ended, and nobody knows how".to_owned(),
    };
    format!("the {name} process of this context {how}; what it knew is lost, and the next run begins with a fresh one")
}
