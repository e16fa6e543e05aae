//! The HTTP client: one connection a request, over the Unix socket or TCP.

use std::fmt;
use std::io;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::websocket::{self, WebSocket};
use super::{Address, Failure};

/// The body of a request: bytes that are there, or a stream that may fail.
pub type Body = BoxBody<Bytes, io::Error>;

/// No answer but a stream is larger; a page of 200 sandboxes stays far below.
const LARGEST_ANSWER: usize = 16 << 20;

/// Knows where the daemon is and who we are.
pub struct Client {
    address: Address,
    key: Option<HeaderValue>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).field("has_key", &self.key.is_some()).finish()
    }
}

/// One call of the API, and what it is for in words that complete "failed to ...".
#[derive(Debug)]
pub struct Call {
    pub action: String,
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

impl Call {
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>, action: impl Into<String>) -> Self {
        Self { action: action.into(), method, path: path.into(), body: None }
    }

    #[must_use]
    pub fn with(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

impl Client {
    /// # Errors
    /// When the key has characters that a header cannot carry.
    pub fn new(address: Address, key: Option<&str>) -> Result<Self, Failure> {
        let key = key.map(secret).transpose()?;
        Ok(Self { address, key })
    }

    /// Makes the call and reads the JSON answer.
    ///
    /// # Errors
    /// When the daemon is not there, says no, or answers something else.
    pub async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let action = call.action.clone();
        let answer = self.answer(call).await?;
        let body = whole(answer, &action).await?;
        read(&body, action)
    }

    /// As [`json`](Self::json), for an answer that may have up to `most` bytes.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub async fn json_within<T: DeserializeOwned>(&self, call: Call, most: usize) -> Result<T, Failure> {
        let action = call.action.clone();
        let answer = self.answer(call).await?;
        let body = within(answer, &action, most).await?;
        read(&body, action)
    }

    /// Makes the call; only its success matters.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub async fn done(&self, call: Call) -> Result<(), Failure> {
        self.answer(call).await.map(drop)
    }

    /// Makes the call and returns the answer when it says that all is well.
    ///
    /// # Errors
    /// As [`json`](Self::json).
    pub async fn answer(&self, call: Call) -> Result<Response<Incoming>, Failure> {
        let (body, kind) = match &call.body {
            Some(value) => (value.to_string(), Some("application/json")),
            None => (String::new(), None),
        };
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed();
        self.send(&call, body, kind).await
    }

    /// Sends `body` as a stream with the call.
    ///
    /// # Errors
    /// As [`json`](Self::json), and when the stream fails.
    pub async fn upload<T: DeserializeOwned>(&self, call: Call, body: Body) -> Result<T, Failure> {
        let answer = self.send(&call, body, Some("application/octet-stream")).await?;
        let body = whole(answer, &call.action).await?;
        read(&body, call.action)
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// When the daemon is not there, or says no.
    pub(super) async fn websocket(&self, path: &str, action: &str) -> Result<WebSocket, Failure> {
        websocket::open(&self.address, self.key.as_ref(), path, action).await
    }

    /// Sends `body`, which is of this kind, as a stream with the call; only its success matters.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub async fn sent(&self, call: Call, body: Body, kind: &str) -> Result<(), Failure> {
        self.send(&call, body, Some(kind)).await.map(drop)
    }

    async fn send(&self, call: &Call, body: Body, kind: Option<&str>) -> Result<Response<Incoming>, Failure> {
        let request = self.request(call, body, kind)?;
        let unreachable = |source| Failure::Unreachable { address: self.address.clone(), source };
        let answer = match &self.address {
            Address::Unix(path) => exchange(UnixStream::connect(path).await.map_err(unreachable)?, request).await,
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                exchange(stream, request).await
            }
        };
        let answer = answer.map_err(|source| Failure::Broken { action: call.action.clone(), source })?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer, call.action.clone()).await) }
    }

    fn request(&self, call: &Call, body: Body, kind: Option<&str>) -> Result<Request<Body>, Failure> {
        let host = match &self.address {
            Address::Unix(_) => "localhost".to_owned(),
            Address::Tcp(address) => address.to_string(),
        };
        let mut request = Request::builder().method(call.method.clone()).uri(&call.path).header(HOST, host);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(key) = &self.key {
            request = request.header("OPEN-SANDBOX-API-KEY", key.clone());
        }
        request
            .body(body)
            .map_err(|error| Failure::Unusable { action: call.action.clone(), problem: error.to_string() })
    }
}

fn secret(key: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(key).map_err(|_| Failure::Unusable {
        action: "use the API key".to_owned(),
        problem: "it has characters that a header cannot carry".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn exchange<S>(stream: S, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its failure reaches us through the sender or the body; on its own it says nothing more.
    drop(tokio::spawn(connection));
    sender.send_request(request).await
}

async fn whole(answer: Response<Incoming>, action: &str) -> Result<Bytes, Failure> {
    within(answer, action, LARGEST_ANSWER).await
}

async fn within(answer: Response<Incoming>, action: &str, most: usize) -> Result<Bytes, Failure> {
    match Limited::new(answer.into_body(), most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(problem) => Err(Failure::Unreadable { action: action.to_owned(), problem: problem.to_string() }),
    }
}

fn read<T: DeserializeOwned>(body: &[u8], action: String) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Unreadable { action, problem: error.to_string() })
}

/// The API's form of every error.
#[derive(Deserialize)]
struct Complaint {
    code: String,
    message: String,
}

async fn refusal(answer: Response<Incoming>, action: String) -> Failure {
    let status = answer.status().as_u16();
    let complaint = match whole(answer, &action).await {
        Ok(body) => serde_json::from_slice(&body).ok(),
        Err(_) => None,
    };
    let Complaint { code, message } = complaint.unwrap_or_else(|| Complaint {
        code: format!("HTTP {status}"),
        message: "the daemon refused without a reason".to_owned(),
    });
    Failure::Refused { action, status, code, message: message.trim_end().to_owned() }
}

/// Percent-encodes one part of a path or query (RFC 3986 section 2.3).
#[must_use]
pub fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}
