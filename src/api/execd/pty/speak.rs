//! What a client says.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::frames::{STDIN, error, text};
use super::typed::Typed;
use crate::sandbox::WindowSize;
use crate::sandbox::commands::RunningInteractive;

/// A client that says nothing for so long, not even in answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Does what the client says until it is gone; what is to be said of that goes to `replies`, and how much of what was typed
/// the process has taken goes to `taken`.
///
/// A process that does not read holds up what is typed, and nothing that is said beside it.
pub async fn listen(
    source: &mut SplitStream<WebSocket>,
    running: &RunningInteractive,
    replies: mpsc::Sender<Message>,
    taken: watch::Sender<u64>,
) {
    let mut typed = Typed::default();
    loop {
        let reply = tokio::select! {
            passed = typed.pass_on(running), if typed.is_waiting() => {
                taken.send_if_modified(|taken| std::mem::replace(taken, running.taken()) != running.taken());
                passed.err().map(|problem| {
                    error("STDIN_WRITE_FAILED", &format!("nobody reads this any more: {problem}"))
                })
            }
            heard = timeout(SILENCE, source.next()), if typed.has_room() => match heard {
                Ok(Some(Ok(Message::Binary(bytes)))) => match bytes.split_first() {
                    Some((&STDIN, bytes)) => {
                        typed.push(bytes);
                        None
                    }
                    _ => Some(invalid("a binary message begins with 0x00, and what is typed follows")),
                },
                Ok(Some(Ok(Message::Text(said)))) => obey(running, &mut typed, said.as_str()),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => None,
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return,
            },
        };
        if let Some(reply) = reply
            && replies.send(reply).await.is_err()
        {
            return;
        }
    }
}

fn obey(running: &RunningInteractive, typed: &mut Typed, said: &str) -> Option<Message> {
    let Ok(said) = serde_json::from_str::<Value>(said) else {
        return Some(invalid("a text message is a JSON object"));
    };
    let done = match said["type"].as_str().unwrap_or_default() {
        "stdin" => said["data"]
            .as_str()
            .map(|data| typed.push(data.as_bytes()))
            .ok_or_else(|| "data must be a string".to_owned()),
        "eof" if running.has_terminal() => Err("a terminal has no end of input; type 0x04 (Ctrl-D)".to_owned()),
        "eof" => {
            typed.end();
            Ok(())
        }
        "resize" => size(&said).and_then(|size| running.resize(size).map_err(|error| error.to_string())),
        "signal" => match signal(&said) {
            Some(signal) => match running.signal(signal) {
                Ok(()) => Ok(()),
                Err(problem) => return Some(error("RUNTIME_ERROR", &problem.to_string())),
            },
            None => Err("signal must be one of SIGINT, SIGTERM, SIGKILL, SIGQUIT, SIGHUP".to_owned()),
        },
        "ping" => return Some(text(&json!({ "type": "pong" }))),
        _ => Err("type must be one of stdin, eof, resize, signal, ping".to_owned()),
    };
    done.err().map(|problem| invalid(&problem))
}

fn size(said: &Value) -> Result<WindowSize, String> {
    let side = |name: &str| {
        let number = said[name].as_u64().and_then(|number| u16::try_from(number).ok());
        number.filter(|number| *number > 0).ok_or_else(|| format!("{name} must be a whole number from 1 to 65535"))
    };
    Ok(WindowSize { columns: side("cols")?, rows: side("rows")? })
}

fn signal(said: &Value) -> Option<i32> {
    match said["signal"].as_str()? {
        "SIGINT" => Some(libc::SIGINT),
        "SIGTERM" => Some(libc::SIGTERM),
        "SIGKILL" => Some(libc::SIGKILL),
        "SIGQUIT" => Some(libc::SIGQUIT),
        "SIGHUP" => Some(libc::SIGHUP),
        _ => None,
    }
}

fn invalid(problem: &str) -> Message {
    error("INVALID_FRAME", problem)
}
