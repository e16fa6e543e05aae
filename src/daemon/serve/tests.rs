//! Connections over a real socket, answered by small routers.

use axum::routing::{get, post};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::console::Address;

struct Daemon {
    path: std::path::PathBuf,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Daemon {
    async fn start(router: Router, max_connections: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("b.sock");
        let listener = Listener::open(&Address::Unix(path.clone())).await.expect("opened");
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(serve(Door { listener, router, max_connections }, stopped));
        Self { path, stop, served, _dir: dir }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.expect("connected")
    }
}

/// Sends `text`, unless the other side has closed before, and reads until `end` was received or the other side has closed.
async fn say(stream: &mut UnixStream, text: &str, end: &str) -> String {
    drop(stream.write_all(text.as_bytes()).await);
    hear(stream, end).await
}

async fn hear(stream: &mut UnixStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).ends_with(end) {
        if stream.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&heard).into_owned()
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" })).route("/echo", post(|text: String| async { text }))
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let daemon = Daemon::start(hello(), 10).await;
    let mut stream = daemon.connect().await;
    for _ in 0..3 {
        assert!(say(&mut stream, GET, "hello").await.starts_with("HTTP/1.1 200 OK"));
    }
    let echo = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345";
    assert!(say(&mut stream, echo, "12345").await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let daemon = Daemon::start(hello(), 10).await;
    let mut stream = daemon.connect().await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(LARGEST_HEAD));
    assert!(say(&mut stream, &long, "\r\n\r\n").await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn beyond_the_bound_the_answer_is_503_until_one_leaves() {
    let daemon = Daemon::start(hello(), 1).await;
    let mut first = daemon.connect().await;
    say(&mut first, GET, "hello").await;
    let answer = hear(&mut daemon.connect().await, "Try again.\"}").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains(&format!("content-length: {}", body.len())), "{answer}");
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
    drop(first);
    // The daemon notices the end of the first by itself; until then it says 503.
    while !say(&mut daemon.connect().await, GET, "hello").await.contains("200 OK") {}
}

#[tokio::test]
async fn stopping_finishes_the_answer_and_lets_nobody_in() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
        get(move || async move {
            begun.notify_one();
            go.notified().await;
            "done"
        })
    };
    let daemon = Daemon::start(Router::new().route("/", slow), 10).await;
    let (mut working, resting) = (daemon.connect().await, daemon.connect().await);
    working.write_all(GET.as_bytes()).await.expect("sent");
    begun.notified().await;
    daemon.stop.send(true).expect("told");
    // The connection without a request is ended at once, and the socket is gone by then.
    assert_eq!(hear(&mut { resting }, "never").await, "");
    assert!(UnixStream::connect(&daemon.path).await.is_err());
    go.notify_one();
    let answer = hear(&mut working, "done").await;
    assert!(answer.contains("200 OK") && answer.ends_with("done"), "{answer}");
    daemon.served.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_finish_in_time_is_cut() {
    let begun = Arc::new(Notify::new());
    let never = {
        let begun = Arc::clone(&begun);
        get(move || async move {
            begun.notify_one();
            std::future::pending::<&str>().await
        })
    };
    let daemon = Daemon::start(Router::new().route("/", never), 10).await;
    let mut working = daemon.connect().await;
    working.write_all(GET.as_bytes()).await.expect("sent");
    begun.notified().await;
    let start = Instant::now();
    daemon.stop.send(true).expect("told");
    daemon.served.await.expect("ended");
    assert_eq!(start.elapsed().as_secs(), FAREWELL.as_secs());
}
