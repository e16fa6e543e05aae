//! A tiny HTTP client, so that the tests see the bytes and not what a library makes of them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::wait::slowness;

/// Longer than anything that is asked here may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// Speaks to a daemon; each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
    headers: String,
}

pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    asked: String,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Client {
    pub fn unix(path: &Path) -> Self {
        Self { address: Address::Unix(path.to_owned()), headers: String::new() }
    }

    pub fn tcp(address: &str) -> Self {
        Self { address: Address::Tcp(address.to_owned()), headers: String::new() }
    }

    #[must_use]
    pub fn with(&self, header: &str) -> Self {
        Self { address: self.address.clone(), headers: format!("{}{header}\r\n", self.headers) }
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, b"")
    }

    pub fn delete(&self, path: &str) -> Response {
        self.ask("DELETE", path, b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    pub fn patch(&self, path: &str, body: &Value) -> Response {
        self.ask("PATCH", path, body.to_string().as_bytes())
    }

    /// # Panics
    /// When there is no answer.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> Response {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn try_ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: bivouac\r\nConnection: close\r\n{}", self.headers);
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes).and_then(|answer| Response::parse(format!("{method} {path}"), &answer))
    }

    /// Sends bytes as they are and returns everything that comes back.
    pub fn send(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.connect()?;
        // The daemon may refuse before it has read everything; its answer counts then.
        let sent = stream.write_all(bytes);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if answer.is_empty() => Err(error),
            _ if answer.is_empty() => sent.map(|()| answer),
            _ => Ok(answer),
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE * slowness()))?;
                Ok(Box::new(stream))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE * slowness()))?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl Response {
    pub fn parse(asked: String, bytes: &[u8]) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("{:?}", String::from_utf8_lossy(bytes)));
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(bad)?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(bad)?;
        let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().into()));
        let headers: Vec<(String, String)> = lines.filter_map(header).collect();
        let mut response = Self { status, headers, body: bytes[end + 4..].to_vec(), asked };
        if response.header("transfer-encoding").is_some_and(|value| value == "chunked") {
            response.body = whole(&response.body).ok_or_else(bad)?;
        }
        Ok(response)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// # Panics
    /// When the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// An error of the API, complete and with this code.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        let response = self.expect(status);
        let body = response.json();
        let message = body["message"].as_str().unwrap_or_default();
        assert_eq!((body["code"].as_str(), message.is_empty()), (Some(code), false), "{response}");
        response
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}: {}", self.asked, self.status, self.text())
    }
}

/// Puts the chunks of a body together.
fn whole(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}
