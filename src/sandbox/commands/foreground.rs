//! A command that somebody listens to.

use std::io;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

use super::command::Command;
use super::pipes;
use crate::sandbox::{Ended, Inside};

/// Bytes read from a pipe at a time: its whole default capacity.
const CHUNK: usize = 64 << 10;

/// Chunks that wait for a slow listener. When all are full the command waits, as it does for a slow terminal.
const WAITING: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
pub enum Event {
    Output(Stream, Vec<u8>),
    /// The last one.
    Ended(Outcome),
}

/// How a command ended, for who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ended(Ended),
    /// It took longer than was allowed and was killed.
    TimedOut(Duration),
    /// The sandbox has ended, or is being removed.
    SandboxLeft(crate::model::Phase),
}

/// Passes output on until the command has ended and everything that it had written is passed on. Who stops listening
/// does not stop the command: its output is thrown away then.
pub fn follow(
    command: Command,
    inside: Inside,
    outputs: Vec<(Stream, Receiver)>,
    timeout: Option<Duration>,
) -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let (drained, mut all_drained) = mpsc::channel::<()>(1);
        for (stream, pipe) in outputs {
            let pump = pump(pipe, stream, sender.clone(), command.clone(), drained.clone(), inside.clone());
            tokio::spawn(pump);
        }
        drop(drained);
        let outcome = wait(&command, &inside, timeout).await;
        if let Outcome::TimedOut(after) = outcome {
            command.timed_out(after);
        }
        if !matches!(outcome, Outcome::SandboxLeft(_)) {
            // Nothing is ever sent: it ends when the last pump has let go.
            all_drained.recv().await;
        }
        drop(sender.send(Event::Ended(outcome)).await);
    });
    events
}

async fn wait(command: &Command, inside: &Inside, timeout: Option<Duration>) -> Outcome {
    let execution = command.execution();
    let over = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = execution.ended() => match inside.has_left() {
            true if ended.exit == crate::model::Exit::Unknown => Outcome::SandboxLeft(inside.left().await),
            _ => Outcome::Ended(ended),
        },
        phase = inside.left() => Outcome::SandboxLeft(phase),
        () = over => {
            drop(execution.signal(libc::SIGKILL));
            execution.ended().await;
            Outcome::TimedOut(timeout.unwrap_or_default())
        }
    }
}

/// Reads one pipe to its end. `drained` is let go of as soon as the command has ended and the pipe was empty after that;
/// what processes that it left behind write later is read too, so that they do not hang or die of it.
async fn pump(
    pipe: Receiver,
    stream: Stream,
    listener: mpsc::Sender<Event>,
    command: Command,
    drained: mpsc::Sender<()>,
    inside: Inside,
) {
    let mut listener = Some(listener);
    let mut drained = Some(drained);
    // What may be in the pipe when the command has ended; whatever comes after that is of others.
    let mut left: Option<usize> = None;
    loop {
        let ended = command.execution().end().is_some();
        if ended {
            left.get_or_insert(CHUNK);
        }
        let mut chunk = vec![0; left.filter(|left| *left > 0).unwrap_or(CHUNK)];
        // What it wrote before its end must not be missed.
        let read = if ended { pipes::read_now(&pipe, &mut chunk) } else { pipe.try_read(&mut chunk) };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if ended {
                    drop((listener.take(), drained.take()));
                }
                tokio::select! {
                    ready = pipe.readable() => if ready.is_err() { break },
                    _ = command.execution().ended(), if !ended => {}
                    _ = inside.left(), if ended => break,
                }
            }
            Err(_) | Ok(0) => break,
            Ok(read) => {
                chunk.truncate(read);
                if let Some(to) = &listener
                    && to.send(Event::Output(stream, chunk)).await.is_err()
                {
                    listener = None;
                }
                left = left.map(|left| left.saturating_sub(read));
                if left == Some(0) {
                    drop((listener.take(), drained.take()));
                }
            }
        }
    }
    // The end of every pipe of a command frees what PID 1 keeps of it.
    command.pipe_ended();
}
