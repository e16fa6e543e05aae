//! A client of the exec API's terminals, which keeps all that it was told.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client::IntoClientRequest};

use super::daemon::Daemon;
use super::sandbox::Sandbox;

/// Longer than anything that is waited for here may take, and shorter than the time between two pings.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Attached {
    socket: WebSocket<UnixStream>,
    /// What came as 0x01, as 0x02, and behind 0x03.
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub replay: Vec<u8>,
    /// The offset in the last 0x03.
    pub offset: Option<u64>,
    pub said: Vec<Value>,
    /// Code and reason of the close.
    pub closed: Option<(u16, String)>,
}

impl Daemon {
    /// Joins a terminal session; `Err` with the status of a refusal.
    pub fn try_attach(&self, sandbox: &Sandbox<'_>, session: &str, query: &str) -> Result<Attached, u16> {
        let stream = UnixStream::connect(self.address().trim_start_matches("unix:")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let path = sandbox.path(&format!("proxy/44772/pty/{session}/ws?{query}"));
        let request = format!("ws://localhost{path}").into_client_request().expect("a request");
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Attached {
                socket,
                out: Vec::new(),
                err: Vec::new(),
                replay: Vec::new(),
                offset: None,
                said: Vec::new(),
                closed: None,
            }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    #[track_caller]
    pub fn attach(&self, sandbox: &Sandbox<'_>, session: &str, query: &str) -> Attached {
        self.try_attach(sandbox, session, query).unwrap_or_else(|status| panic!("refused with {status}"))
    }
}

impl Sandbox<'_> {
    /// Prepares a terminal session.
    #[track_caller]
    pub fn open_pty(&self, body: &Value) -> String {
        let made = self.post("proxy/44772/pty", body).expect(201).json();
        made["session_id"].as_str().expect("an id").to_owned()
    }
}

impl Attached {
    #[track_caller]
    pub fn type_in(&mut self, text: &[u8]) {
        self.socket.send(Message::binary([&[0], text].concat())).expect("sent");
    }

    #[track_caller]
    pub fn say(&mut self, value: &Value) {
        self.socket.send(Message::text(value.to_string())).expect("sent");
    }

    #[track_caller]
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.say(&json!({"type": "resize", "cols": columns, "rows": rows}));
    }

    /// Hears one message; false at the end of the connection.
    #[track_caller]
    pub fn hear(&mut self) -> bool {
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => self.take(&bytes),
            Ok(Message::Text(text)) => self.said.push(serde_json::from_str(&text).expect("JSON")),
            Ok(Message::Close(frame)) => {
                self.closed = frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing more comes; {self:?}")
            }
            Err(_) => return false,
        }
        true
    }

    fn take(&mut self, bytes: &[u8]) {
        match bytes.split_first() {
            Some((1, rest)) => self.out.extend_from_slice(rest),
            Some((2, rest)) => self.err.extend_from_slice(rest),
            Some((3, rest)) => {
                let (offset, rest) = rest.split_first_chunk().expect("an offset");
                self.offset = Some(u64::from_be_bytes(*offset));
                self.replay.extend_from_slice(rest);
            }
            _ => panic!("no message of the protocol: {bytes:?}"),
        }
    }

    /// Hears until that is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        while !so(self) {
            assert!(self.hear(), "the connection ended before {what}: {self:?}");
        }
    }

    /// Hears until the output holds this.
    #[track_caller]
    pub fn until_shown(&mut self, text: &str) {
        self.until(text, |client| client.text().contains(text));
    }

    /// Everything that was written, whenever.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&[self.replay.as_slice(), &self.out, &self.err].concat()).into_owned()
    }

    /// Hears to the end; returns the exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> Value {
        while self.hear() {}
        let last = self.said.last().cloned().unwrap_or_default();
        assert_eq!(
            (last["type"].as_str(), self.closed.as_ref()),
            (Some("exit"), Some(&(1000, "process exited".to_owned()))),
            "{self:?}"
        );
        last["exit_code"].clone()
    }
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text();
        let tail: String = text.chars().skip(text.chars().count().saturating_sub(500)).collect();
        f.debug_struct("Attached").field("said", &self.said).field("closed", &self.closed).field("tail", &tail).finish()
    }
}
