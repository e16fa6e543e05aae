//! Taking part in a process of a sandbox: our input and signals go there, its output comes here, to its end; a daemon that
//! is restarted meanwhile is waited for.

use std::io::{self, Write};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::signals::Signals;
use super::websocket::WebSocket;
use super::{Client, Failure, screen, terminal};

/// How long a daemon may be away, and its program waits for us.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Read at a time.
const CHUNK: usize = 32 << 10;

/// What a shell shows for SIGKILL, by which the end of a sandbox ends its programs.
const KILLED: u8 = 128 + 9;
const OUR_ERROR: u8 = 125;

/// A process that was prepared, and what is ours.
pub struct Part<'a> {
    pub client: &'a Client,
    /// Path of its WebSocket.
    pub path: String,
    pub action: String,
    pub tty: bool,
    /// Whether our standard input goes there.
    pub stdin: bool,
}

struct Ours {
    input: Option<mpsc::Receiver<Vec<u8>>>,
    /// What may not have arrived.
    unsent: Option<Message>,
    signals: Signals,
    window: Signal,
}

/// How one connection ended.
enum End {
    Exit(u8),
    /// The daemon is away.
    Broken,
}

impl Part<'_> {
    /// Stays to the end of the process, and returns its exit code.
    ///
    /// # Errors
    /// When the daemon stays away or refuses, or our output cannot be written.
    pub async fn take(&self) -> Result<u8, Failure> {
        let mut ours = Ours {
            input: self.stdin.then(read_stdin),
            unsent: None,
            signals: Signals::catch()?,
            window: signal(SignalKind::window_change())?,
        };
        let _raw = if self.tty && self.stdin { Some(terminal::Raw::enter()?) } else { None };
        let (mut shown, mut tries) = (0, 0);
        let mut away: Option<Instant> = None;
        loop {
            let before = shown;
            match self.connect(shown, tries > 0).await {
                Ok(socket) => {
                    tries += 1;
                    if let End::Exit(code) = self.converse(socket, &mut ours, &mut shown).await? {
                        return Ok(code);
                    }
                }
                Err(failure) if !failure.may_pass() => return Err(failure),
                Err(failure) if tries == 0 => return Err(failure),
                Err(failure) if away.is_some_and(|away| away.elapsed() > PATIENCE) => return Err(failure),
                Err(_) => {}
            }
            if shown != before {
                away = None;
            }
            away.get_or_insert_with(Instant::now);
            sleep(BETWEEN_TRIES).await;
        }
    }

    async fn connect(&self, shown: u64, again: bool) -> Result<WebSocket, Failure> {
        let size = terminal::size().filter(|_| self.tty);
        let size = size.map(|(columns, rows)| format!("&cols={columns}&rows={rows}")).unwrap_or_default();
        let (tty, again) = (u8::from(self.tty), u8::from(again));
        let path = format!("{}?pty={tty}&streams=1&since={shown}&takeover={again}{size}", self.path);
        self.client.websocket(&path, &self.action).await
    }

    async fn converse(&self, socket: WebSocket, ours: &mut Ours, shown: &mut u64) -> Result<End, Failure> {
        let (mut sink, mut source) = socket.split();
        tokio::select! {
            end = hear(&mut source, shown) => end,
            () = self.speak(&mut sink, ours) => Ok(End::Broken),
        }
    }

    /// Until the connection breaks.
    async fn speak(&self, sink: &mut SplitSink<WebSocket, Message>, ours: &mut Ours) {
        // The window may have changed while there was no connection, and the end of the input may not have arrived.
        let mut first = vec![ours.unsent.take()];
        if self.tty {
            first.push(resized());
        } else if self.stdin && ours.input.is_none() {
            first.push(Some(eof()));
        }
        for message in first.into_iter().flatten() {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        loop {
            let message = tokio::select! {
                bytes = next(&mut ours.input) => match bytes {
                    Some(bytes) => Some(Message::binary([&[0], bytes.as_slice()].concat())),
                    None => {
                        ours.input = None;
                        (!self.tty).then(eof)
                    }
                },
                signal = ours.signals.next() => {
                    Some(Message::text(json!({ "type": "signal", "signal": signal }).to_string()))
                }
                _ = ours.window.recv(), if self.tty => resized(),
            };
            ours.unsent = message.clone();
            if let Some(message) = message
                && sink.send(message).await.is_err()
            {
                return;
            }
            ours.unsent = None;
        }
    }
}

/// What is read next; never anything when nothing is to be read any more.
async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

fn eof() -> Message {
    Message::text(json!({ "type": "eof" }).to_string())
}

fn resized() -> Option<Message> {
    let (columns, rows) = terminal::size()?;
    Some(Message::text(json!({ "type": "resize", "cols": columns, "rows": rows }).to_string()))
}

/// A thread of its own waits for what comes, for as long as this process lives.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            match nix::unistd::read(io::stdin(), &mut chunk) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(length @ 1..) => {
                    let bytes = chunk.get(..length).unwrap_or_default().to_vec();
                    if sender.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    });
    receiver
}

/// Shows what comes, to the end of the process or of the connection.
async fn hear(source: &mut SplitStream<WebSocket>, shown: &mut u64) -> Result<End, Failure> {
    while let Some(Ok(message)) = source.next().await {
        match message {
            Message::Binary(bytes) => match bytes.split_first() {
                Some((stream @ (1 | 2), rest)) => {
                    write(*stream, rest.to_vec()).await?;
                    *shown += rest.len() as u64;
                }
                Some((3, rest)) => missed(rest, shown),
                _ => {}
            },
            Message::Text(text) => {
                let said: Value = serde_json::from_str(text.as_str()).unwrap_or_default();
                if let Some(code) = code(&said) {
                    return Ok(End::Exit(code));
                }
            }
            _ => {}
        }
    }
    Ok(End::Broken)
}

fn missed(offset: &[u8], shown: &mut u64) {
    if let Ok(offset) = offset.try_into().map(u64::from_be_bytes) {
        if offset > *shown {
            screen::note(&format!("bivouac: {} bytes of output were lost while the daemon was away", offset - *shown));
        }
        *shown = offset;
    }
}

/// The exit code, when that is what was said; trouble is told.
fn code(said: &Value) -> Option<u8> {
    let problem = said["error"].as_str().unwrap_or("for no reason that is known");
    match (said["type"].as_str()?, said["code"].as_str()) {
        ("exit", _) => Some(said["exit_code"].as_i64().map_or(OUR_ERROR, narrow)),
        ("error", Some("START_FAILED")) => {
            screen::note(&format!("bivouac: the program was not started: {problem}"));
            Some(said["exit_code"].as_i64().map_or(OUR_ERROR, narrow))
        }
        ("error", Some("SESSION_GONE")) => {
            screen::note(&format!("bivouac: {problem}"));
            Some(KILLED)
        }
        ("error", Some("TAKEN_OVER" | "RUNTIME_ERROR")) => {
            screen::note(&format!("bivouac: {problem}"));
            Some(OUR_ERROR)
        }
        // A program that closes its input early is no trouble of ours.
        _ => None,
    }
}

fn narrow(code: i64) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(OUR_ERROR)
}

/// A reader of our output that is slow must not keep signals from being passed on, so another thread waits for it.
async fn write(stream: u8, bytes: Vec<u8>) -> Result<(), Failure> {
    let write = move || match stream {
        1 => {
            let mut out = io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        }
        _ => io::stderr().lock().write_all(&bytes),
    };
    let done = tokio::task::spawn_blocking(write).await;
    Ok(done.unwrap_or_else(|lost| Err(io::Error::other(lost)))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_programs_or_say_who_failed() {
        for (said, expected) in [
            (json!({"type": "exit", "exit_code": 3}), Some(3)),
            (json!({"type": "exit", "exit_code": 137}), Some(137)),
            (json!({"type": "error", "code": "START_FAILED", "error": "x", "exit_code": 127}), Some(127)),
            (json!({"type": "error", "code": "SESSION_GONE", "error": "x"}), Some(137)),
            (json!({"type": "error", "code": "TAKEN_OVER", "error": "x"}), Some(125)),
            (json!({"type": "error", "code": "STDIN_WRITE_FAILED", "error": "x"}), None),
            (json!({"type": "pong"}), None),
            (Value::Null, None),
        ] {
            assert_eq!(code(&said), expected, "{said}");
        }
    }
}
