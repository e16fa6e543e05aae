//! One client's time with a process.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, timeout};

use super::frames::{Telling, error, text};
use super::speak::listen;
use crate::model::{Exit, Phase};
use crate::sandbox::ExecError;
use crate::sandbox::commands::{Attachment, Mode, Over, RunningInteractive};

/// Proxies on the way cut connections that say nothing for long, and clients that are gone do not answer.
pub const PING: Duration = Duration::from_secs(30);

/// Output in one message.
const CHUNK: usize = 64 << 10;

/// Replies that wait for a slow client; then it is not listened to.
pub const REPLIES: usize = 4;

/// What a client that counts may send beyond what was taken. Far less than is held for it, so that it is always listened to.
pub const WINDOW: u64 = 256 << 10;

/// For the last words, and for the client to hear them.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// Of the range for applications (RFC 6455 section 7.4.2).
pub const TAKEN_OVER: u16 = 4001;

/// What a shell answers for a program that is not there, for one that cannot be run, and for trouble of its own.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const OUR_ERROR: i32 = 125;

/// How a client wants to take part.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    pub mode: Mode,
    /// The offset from which on it wants to see output.
    pub since: Option<u64>,
    /// Whether it wants to see by streams what was written before it came.
    pub streams: bool,
    /// Whether it wants to hear how much of what it types was taken, and sends no more than [`WINDOW`] beyond that.
    pub acks: bool,
}

/// Why it is over.
enum End {
    /// The process has ended.
    Over(Over),
    NotStarted(ExecError),
    TakenOver,
    Deleted,
    SandboxLeft(Phase),
    /// The output cannot be read any more.
    Unreadable(std::io::Error),
    ClientGone,
}

pub async fn converse(socket: WebSocket, attachment: Attachment, wishes: Wishes) {
    let (mut sink, mut source) = socket.split();
    let end = talk(&mut sink, &mut source, &attachment, wishes).await;
    drop(attachment);
    let farewell = async {
        for message in last_words(end) {
            sink.send(message).await?;
        }
        sink.close().await?;
        // Until it has heard that, or is gone: to hang up before could take the last words away from it.
        while let Some(Ok(_)) = source.next().await {}
        Ok::<_, axum::Error>(())
    };
    // It may be gone.
    drop(timeout(FAREWELL, farewell).await);
}

async fn talk(
    sink: &mut SplitSink<WebSocket, Message>,
    source: &mut SplitStream<WebSocket>,
    attachment: &Attachment,
    wishes: Wishes,
) -> End {
    let process = &attachment.process;
    // Before it is started: the first client sees everything.
    let telling = Telling::new(wishes.since, process.tape().end(), wishes.streams);
    let running = match process.start(wishes.mode).await {
        Ok(running) => running,
        Err(error) => return End::NotStarted(error),
    };
    let mode = if running.has_terminal() { "pty" } else { "pipe" };
    let mut connected = json!({ "type": "connected", "session_id": process.id().as_str(), "mode": mode });
    let (replies, waiting) = mpsc::channel(REPLIES);
    let (taken, mut told) = watch::channel(running.taken());
    let taken_so_far = *told.borrow_and_update();
    if let (true, Some(fields)) = (wishes.acks, connected.as_object_mut()) {
        fields.extend([("stdin_taken".to_owned(), taken_so_far.into()), ("stdin_window".to_owned(), WINDOW.into())]);
    }
    let first = [Some(text(&connected)), telling.opening()];
    let answers = Answers::new(waiting, wishes.acks.then_some(told));
    tokio::select! {
        end = show(sink, attachment, running, telling, first, answers) => end,
        () = listen(source, running, replies, taken) => End::ClientGone,
        () = attachment.lost() => End::TakenOver,
        () = process.closed() => End::Deleted,
        phase = attachment.sandbox_left() => End::SandboxLeft(phase),
    }
}

/// What is said of what the client says.
#[derive(Debug)]
pub struct Answers {
    replies: mpsc::Receiver<Message>,
    taken: Option<watch::Receiver<u64>>,
}

impl Answers {
    pub fn new(replies: mpsc::Receiver<Message>, taken: Option<watch::Receiver<u64>>) -> Self {
        Self { replies, taken }
    }

    /// Never anything when there is nothing more.
    pub async fn next(&mut self) -> Message {
        let Self { replies, taken } = self;
        let newly_taken = async {
            if let Some(taken) = taken
                && taken.changed().await.is_ok()
            {
                return *taken.borrow_and_update();
            }
            std::future::pending().await
        };
        tokio::select! {
            Some(reply) = replies.recv() => reply,
            bytes = newly_taken => text(&json!({ "type": "stdin_taken", "bytes": bytes })),
            else => std::future::pending().await,
        }
    }
}

/// Shows output as it comes, to the end of the process.
async fn show(
    sink: &mut SplitSink<WebSocket, Message>,
    attachment: &Attachment,
    running: &RunningInteractive,
    mut telling: Telling,
    first: [Option<Message>; 2],
    mut answers: Answers,
) -> End {
    let tape = attachment.process.tape();
    let mut ping = interval_at(Instant::now() + PING, PING);
    let mut over: Option<Over> = None;
    let mut messages: Vec<Message> = first.into_iter().flatten().collect();
    attachment.shown(telling.next);
    loop {
        for message in messages.drain(..) {
            if sink.send(message).await.is_err() {
                return End::ClientGone;
            }
        }
        attachment.shown(telling.next);
        let left = over.map_or(u64::MAX, |over| over.at.saturating_sub(telling.next));
        if let (Some(over), 0) = (over, left) {
            return End::Over(over);
        }
        let most = telling.most(CHUNK).min(usize::try_from(left).unwrap_or(CHUNK));
        tokio::select! {
            biased;
            reply = answers.next() => messages.push(reply),
            _ = ping.tick() => messages.push(Message::Ping(Vec::new().into())),
            ended = running.over(), if over.is_none() => over = Some(ended),
            piece = tape.next(telling.next, most) => match piece {
                Ok(piece) => messages = telling.tell(&piece),
                Err(error) => return End::Unreadable(error),
            },
        }
    }
}

fn last_words(end: End) -> Vec<Message> {
    let close = |code, reason: &str| Message::Close(Some(CloseFrame { code, reason: reason.to_owned().into() }));
    let gone = |problem: &str| vec![error("SESSION_GONE", problem), close(close_code::AWAY, "session gone")];
    match end {
        End::Over(Over { exit, .. }) => match exit_code(exit) {
            Some(code) => {
                let exit = json!({ "type": "exit", "exit_code": code });
                vec![text(&exit), close(close_code::NORMAL, "process exited")]
            }
            None => gone("nobody knows how the process ended"),
        },
        End::NotStarted(problem) => vec![not_started(&problem), close(close_code::ERROR, "not started")],
        End::TakenOver => {
            vec![error("TAKEN_OVER", "another client has taken over"), close(TAKEN_OVER, "TAKEN_OVER")]
        }
        End::Deleted => gone("the session was deleted"),
        End::SandboxLeft(phase) => gone(&format!("the sandbox is {phase}; the process ended with it")),
        End::Unreadable(problem) => {
            vec![error("RUNTIME_ERROR", &problem.to_string()), close(close_code::ERROR, "output lost")]
        }
        End::ClientGone => Vec::new(),
    }
}

/// As a shell shows it.
fn exit_code(exit: Exit) -> Option<i32> {
    match exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(signal) => Some(128 + signal),
        Exit::Unknown => None,
    }
}

fn not_started(problem: &ExecError) -> Message {
    let code = match problem {
        ExecError::NotFound(_) => NOT_FOUND,
        ExecError::NotExecutable(_) | ExecError::WorkingDirectory(_) => NOT_EXECUTABLE,
        ExecError::User(_) | ExecError::Host(_) | ExecError::Gone => OUR_ERROR,
    };
    text(&json!({ "type": "error", "code": "START_FAILED", "error": problem.to_string(), "exit_code": code }))
}
