//! A program in a pretended sandbox: whatever a test makes of a connection to a port of its own loopback.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::{Daemon, create};

/// Listens on `port`, and keeps what each connection has said.
pub struct Upstream {
    pub port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    listening: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Upstream {
    /// Lets `serve` speak on each connection once a whole request was heard on it.
    pub async fn start<F: Future<Output = ()> + Send>(
        serve: impl Fn(TcpStream, String) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, serve) = (Arc::clone(&heard), Arc::new(serve));
        let listening = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (kept, serve) = (Arc::clone(&kept), Arc::clone(&serve));
                drop(tokio::spawn(async move {
                    let said = request(&mut stream).await;
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(said.clone());
                    serve(stream, said).await;
                }));
            }
        });
        Self { port, heard, listening }
    }

    /// Answers every request with this.
    pub async fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::start(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                // The other side may have what it wants.
                drop(stream.write_all(answer.as_bytes()).await);
            }
        })
        .await
    }

    /// Answers every request with the bytes of it.
    pub async fn echoing() -> Self {
        Self::start(|mut stream, said| async move {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len());
            drop(stream.write_all(answer.as_bytes()).await);
        })
        .await
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads a whole request, or what comes of one.
async fn request(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        if is_whole(&text) || stream.read_buf(&mut said).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    match length {
        Some(length) => body.len() >= length,
        None if head.contains("transfer-encoding: chunked") => body.ends_with("0\r\n\r\n"),
        None => true,
    }
}

impl Daemon {
    /// A running sandbox's id.
    pub async fn sandbox(&self, key: Option<&str>) -> String {
        let made: serde_json::Value = self.client(key).json(create()).await.expect("created");
        assert_eq!(made["status"]["state"], json!("Running"));
        made["id"].as_str().expect("an id").to_owned()
    }

    pub async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.expect("connected")
    }

    /// Says this on a connection of its own and returns all that comes back.
    pub async fn say(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        // It may be refused before all of it was sent.
        drop(stream.write_all(text.as_bytes()).await);
        hear(&mut stream, "").await
    }
}

/// Reads until `end` was heard, or everything when that is empty.
pub async fn hear(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut heard = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if !end.is_empty() && text.ends_with(end) || stream.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&heard).into_owned();
        }
    }
}

/// The lines of a head.
pub fn lines(text: &str) -> Vec<&str> {
    text.split("\r\n\r\n").next().unwrap_or_default().split("\r\n").collect()
}

pub fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default()
}

/// Status and code of a refusal.
pub fn refusal(answer: &str) -> (u16, String) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body(answer)).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or(answer).to_owned())
}
