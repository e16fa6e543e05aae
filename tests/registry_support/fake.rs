//! A server that answers as a test says, also as no honest server does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bivouac::image::Digest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered: a head and a body that need not fit each other. The connection is closed after it.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    /// A byte now and then.
    Drip,
    /// The body again and again.
    Repeat,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), body, then: Then::Close }.with("content-length", None)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says this length of the body, whatever it is.
    pub fn length(self, length: u64) -> Self {
        self.with("content-length", Some(length))
    }

    pub fn dripping(self, length: u64) -> Self {
        Self { then: Then::Drip, ..self.length(length) }
    }

    /// Without a length and without an end.
    pub fn endless(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "content-length");
        Self { then: Then::Repeat, ..self }
    }

    fn with(mut self, name: &str, length: Option<u64>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        let length = length.unwrap_or(self.body.len() as u64);
        self.header(name, &length.to_string())
    }
}

pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&answer)));
            }
        });
        Self { port, asked, task }
    }

    /// One that takes connections, tells nobody anything, and should not be asked.
    pub async fn canary() -> Self {
        Self::start(|_| Reply::new(200, "{\"token\":\"from-the-canary\"}")).await
    }

    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn was_told_who_asks(&self) -> bool {
        self.asked().iter().any(|asked| asked.header("authorization").is_some())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<Asked>>>, answer: Arc<impl Fn(&Asked) -> Reply>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // A hand-shake of TLS.
            Ok(0x16) if head.is_empty() => return,
            Ok(byte) if head.len() < 16 << 10 => head.push(byte),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let asked = Asked { path, headers: lines.filter_map(pair).collect() };
    log.lock().unwrap().push(asked.clone());
    let reply = answer(&asked);
    // Who was asked may have gone.
    drop(send(&mut stream, reply).await);
}

async fn send(stream: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    stream.write_all(&reply.body).await?;
    let mut drops = tokio::time::interval(Duration::from_millis(50));
    loop {
        match reply.then {
            Then::Close => return Ok(()),
            Then::Repeat => stream.write_all(&reply.body).await?,
            Then::Drip => {
                drops.tick().await;
                stream.write_all(b"x").await?;
            }
        }
    }
}

/// An image of one uncompressed layer, as a registry has it.
#[derive(Clone)]
pub struct Served {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Value,
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Served {
    pub fn new(layer: Vec<u8>) -> Self {
        let diff_id = Digest::of(&layer).to_string();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/x"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
        let config = config.to_string().into_bytes();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(&config).to_string(),
                "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": layer.len()}]});
        Self { layer, config, manifest }
    }

    /// What an honest registry answers; ranges are not known to it.
    pub fn answer(&self, asked: &Asked) -> Reply {
        if asked.path.contains("/manifests/") {
            return Reply::new(200, self.manifest.to_string()).header("content-type", MANIFEST);
        }
        if asked.path.ends_with(&Digest::of(&self.config).to_string()) {
            return Reply::new(200, self.config.clone());
        }
        if self.is_layer(asked) {
            return Reply::new(200, self.layer.clone());
        }
        Reply::new(404, "")
    }

    pub fn is_layer(&self, asked: &Asked) -> bool {
        asked.path.ends_with(&format!("/blobs/{}", Digest::of(&self.layer)))
    }
}
