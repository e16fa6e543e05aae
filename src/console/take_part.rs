//! Taking part in a process of a sandbox: our input and signals go there, its output comes here, to its end; a daemon that
//! is restarted meanwhile is waited for.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::signals::Signals;
use super::websocket::WebSocket;
use super::{Client, Failure, screen, terminal};

/// How long a daemon may be away, and its program waits for us.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the daemon may take to take what was typed last.
const LEAVING: Duration = Duration::from_secs(1);
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
    /// Whether Ctrl-P Ctrl-Q leaves it.
    pub detaches: bool,
}

struct Ours {
    input: Option<mpsc::Receiver<Vec<u8>>>,
    keys: Keys,
    given: Given,
    /// A signal that may not have arrived.
    unsent: Option<Message>,
    signals: Signals,
    window: Signal,
}

/// How one connection ended.
enum End {
    Exit(u8),
    Detached,
    /// The daemon is away.
    Broken,
}

impl Part<'_> {
    /// Stays to the end of the process, and returns its exit code; nothing when the user has left it before.
    ///
    /// # Errors
    /// When the daemon stays away or refuses, or our output cannot be written.
    pub async fn take(&self) -> Result<Option<u8>, Failure> {
        let mut ours = Ours {
            input: self.stdin.then(read_stdin),
            keys: Keys::default(),
            given: Given::default(),
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
                    match self.converse(socket, &mut ours, &mut shown).await? {
                        End::Exit(code) => return Ok(Some(code)),
                        End::Detached => return Ok(None),
                        // Nobody waits for a connection to come back.
                        End::Broken if ours.keys.left => return Ok(None),
                        End::Broken => {}
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
        let path = format!("{}?pty={tty}&streams=1&acks=1&since={shown}&takeover={again}{size}", self.path);
        self.client.websocket(&path, &self.action).await
    }

    async fn converse(&self, socket: WebSocket, ours: &mut Ours, shown: &mut u64) -> Result<End, Failure> {
        let (mut sink, mut source) = socket.split();
        let (says, said) = watch::channel(None);
        let mut heard = pin!(hear(&mut source, shown, &says));
        tokio::select! {
            end = &mut heard => end,
            // What has arrived is shown, and counted, before that is asked for which comes after it.
            end = self.speak(&mut sink, ours, said) => match end {
                End::Detached => {
                    // So that the daemon takes what was typed before, however much it has to show.
                    let leave = async {
                        drop(sink.close().await);
                        heard.await
                    };
                    drop(timeout(LEAVING, leave).await);
                    Ok(End::Detached)
                }
                End::Broken if !ours.keys.left => timeout(PATIENCE, heard).await.unwrap_or(Ok(End::Broken)),
                end => Ok(end),
            },
        }
    }

    /// Until the connection breaks, or the user leaves. What is typed is sent only as far as the program takes it, so that nothing that is said
    /// beside it has to wait on the way.
    async fn speak(
        &self,
        sink: &mut SplitSink<WebSocket, Message>,
        ours: &mut Ours,
        mut said: watch::Receiver<Option<Taken>>,
    ) -> End {
        let mut waiting: VecDeque<Message> = ours.unsent.clone().into_iter().collect();
        // The window may have changed while there was no connection.
        waiting.extend(resized().filter(|_| self.tty));
        let mut connected = false;
        loop {
            while let Some(message) = waiting.front() {
                if sink.send(message.clone()).await.is_err() {
                    return End::Broken;
                }
                waiting.pop_front();
            }
            ours.unsent = None;
            if ours.keys.left {
                return End::Detached;
            }
            let room = connected && ours.given.has_room();
            tokio::select! {
                // It lives as long as this does, or the connection is over.
                changed = said.changed() => {
                    let taken = *said.borrow_and_update();
                    let (Ok(()), Some(taken)) = (changed, taken) else { return End::Broken };
                    ours.given.taken(taken);
                    if !connected {
                        // What an earlier connection may not have brought there.
                        waiting.extend(ours.given.pieces.iter().map(|piece| typed(piece)));
                        waiting.extend((ours.input.is_none() && self.stdin && !self.tty).then(eof));
                        connected = true;
                    }
                }
                bytes = next(&mut ours.input), if room => match bytes {
                    Some(bytes) => {
                        let bytes = if self.detaches { ours.keys.pass(bytes) } else { bytes };
                        if !bytes.is_empty() {
                            waiting.push_back(typed(&bytes));
                            ours.given.push(bytes);
                        }
                    }
                    None => {
                        ours.input = None;
                        waiting.extend((!self.tty).then(eof));
                    }
                },
                signal = ours.signals.next() => {
                    let message = Message::text(json!({ "type": "signal", "signal": signal }).to_string());
                    ours.unsent = Some(message.clone());
                    waiting.push_back(message);
                }
                _ = ours.window.recv(), if self.tty => waiting.extend(resized()),
            }
        }
    }
}

/// Looks for Ctrl-P Ctrl-Q.
#[derive(Debug, Default)]
struct Keys {
    /// Ctrl-P was typed, and is held back until the next key.
    held: bool,
    /// Both were.
    left: bool,
}

impl Keys {
    const FIRST: u8 = 0x10;
    const SECOND: u8 = 0x11;

    /// What goes on of what was typed; nothing of what comes after both.
    fn pass(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let mut passed = Vec::with_capacity(bytes.len() + 1);
        for byte in bytes {
            let held = std::mem::replace(&mut self.held, byte == Self::FIRST);
            match (held, byte) {
                (true, Self::SECOND) => {
                    self.left = true;
                    break;
                }
                (true, Self::FIRST) | (false, Self::FIRST) => passed.extend(held.then_some(Self::FIRST)),
                (true, _) => passed.extend([Self::FIRST, byte]),
                (false, _) => passed.push(byte),
            }
        }
        passed
    }
}

/// How much the program has taken of what was typed, as the daemon counts, and how much more may be on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Taken {
    bytes: u64,
    window: Option<usize>,
}

/// What was sent, and perhaps not taken.
#[derive(Debug, Default)]
struct Given {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    known: Taken,
}

impl Given {
    fn has_room(&self) -> bool {
        self.known.window.is_none_or(|window| self.bytes + CHUNK <= window)
    }

    fn push(&mut self, bytes: Vec<u8>) {
        // Of a daemon that does not count nothing would ever be heard.
        if self.known.window.is_some() {
            self.bytes += bytes.len();
            self.pieces.push_back(bytes);
        }
    }

    /// A daemon that was started again counts from the beginning.
    fn taken(&mut self, taken: Taken) {
        let mut more = usize::try_from(taken.bytes.saturating_sub(self.known.bytes)).unwrap_or(usize::MAX);
        self.known = taken;
        while let Some(first) = self.pieces.front_mut()
            && more > 0
        {
            let part = more.min(first.len());
            first.drain(..part);
            self.bytes -= part;
            more -= part;
            if first.is_empty() {
                self.pieces.pop_front();
            }
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

fn typed(bytes: &[u8]) -> Message {
    Message::binary([&[0], bytes].concat())
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
async fn hear(
    source: &mut SplitStream<WebSocket>,
    shown: &mut u64,
    says: &watch::Sender<Option<Taken>>,
) -> Result<End, Failure> {
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
                says.send_if_modified(|taken| take_in(&said, taken));
                if let Some(code) = code(&said) {
                    return Ok(End::Exit(code));
                }
            }
            _ => {}
        }
    }
    Ok(End::Broken)
}

/// Whether that was something about what was typed.
fn take_in(said: &Value, taken: &mut Option<Taken>) -> bool {
    match (said["type"].as_str(), &taken) {
        (Some("connected"), _) => {
            let window = said["stdin_window"].as_u64().and_then(|window| usize::try_from(window).ok());
            *taken = Some(Taken { bytes: said["stdin_taken"].as_u64().unwrap_or_default(), window });
            true
        }
        (Some("stdin_taken"), Some(before)) => {
            *taken = Some(Taken { bytes: said["bytes"].as_u64().unwrap_or(before.bytes), ..*before });
            true
        }
        _ => false,
    }
}

fn missed(offset: &[u8], shown: &mut u64) {
    if let Ok(offset) = offset.try_into().map(u64::from_be_bytes) {
        if offset > *shown {
            screen::note(&format!("bivouac: {} bytes of output are not kept any more", offset - *shown));
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
        // Its status says how.
        ("error", Some("SANDBOX_ENDED")) => Some(OUR_ERROR),
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
            (json!({"type": "error", "code": "SANDBOX_ENDED", "error": "x"}), Some(125)),
            (json!({"type": "error", "code": "STDIN_WRITE_FAILED", "error": "x"}), None),
            (json!({"type": "pong"}), None),
            (Value::Null, None),
        ] {
            assert_eq!(code(&said), expected, "{said}");
        }
    }

    #[test]
    fn two_keys_leave_it_and_every_other_goes_on() {
        let mut keys = Keys::default();
        let mut pass = |bytes: &[u8]| {
            let passed = keys.pass(bytes.to_vec());
            (passed, keys.left)
        };
        assert_eq!(pass(b"a\x11b"), (b"a\x11b".to_vec(), false));
        assert_eq!((pass(b"c\x10"), pass(b"d")), ((b"c".to_vec(), false), (b"\x10d".to_vec(), false)));
        assert_eq!(pass(b"\x10\x10\x10e"), (b"\x10\x10\x10e".to_vec(), false));
        assert_eq!((pass(b"f\x10"), pass(b"\x11g")), ((b"f".to_vec(), false), (Vec::new(), true)));
        assert_eq!(Keys::default().pass(b"last\x10\x11".to_vec()), b"last");
    }

    #[test]
    fn what_was_not_taken_is_given_again() {
        let mut given = Given::default();
        given.push(vec![0; 10]);
        assert_eq!((given.pieces.len(), given.bytes, given.has_room()), (0, 0, true), "nobody counts");
        let window = Some(CHUNK + 20);
        given.taken(Taken { bytes: 0, window });
        given.push(vec![1; 10]);
        given.push(vec![2; 10]);
        assert!(given.has_room());
        given.push(vec![3; 10]);
        assert!(!given.has_room());
        given.taken(Taken { bytes: 15, window });
        assert_eq!((given.pieces.front(), given.bytes), (Some(&vec![2; 5]), 15));
        given.taken(Taken { bytes: 0, window });
        assert_eq!(given.bytes, 15, "a daemon that knows nothing of it");
        given.taken(Taken { bytes: 20, window });
        assert_eq!((given.pieces.len(), given.bytes), (0, 0), "not less than nothing");
    }

    #[test]
    fn the_daemon_says_what_was_taken() {
        let mut taken = None;
        assert!(!take_in(&json!({"type": "stdin_taken", "bytes": 5}), &mut taken));
        assert!(take_in(&json!({"type": "connected", "stdin_taken": 3, "stdin_window": 9}), &mut taken));
        assert!(take_in(&json!({"type": "stdin_taken", "bytes": 5}), &mut taken));
        assert_eq!(taken, Some(Taken { bytes: 5, window: Some(9) }));
        assert!(take_in(&json!({"type": "connected"}), &mut taken));
        assert_eq!(taken, Some(Taken::default()));
    }
}
