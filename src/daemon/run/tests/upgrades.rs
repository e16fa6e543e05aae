//! Connections that leave HTTP behind on their way to a port of a sandbox.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::upstream::{Upstream, hear, lines};
use super::*;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: Echo/1\r\nX-Own: 1\r\n\r\n";

async fn open() -> (Daemon, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), &[]), FakeHost::new()).await;
    let sandbox = daemon.sandbox(None).await;
    (daemon, sandbox, dir)
}

fn ask(sandbox: &str, port: u16) -> String {
    format!(
        "GET /v1/sandboxes/{sandbox}/proxy/{port}/ws?a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: Echo/1\r\n\
         Sec-WebSocket-Key: k\r\nSec-WebSocket-Protocol: p\r\n\r\n"
    )
}

/// Agrees, says back what it hears until that ends, and then says good-bye.
async fn echo() -> Upstream {
    Upstream::start(|mut stream, _| async move {
        stream.write_all(SWITCH.as_bytes()).await.expect("sent");
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.expect("copied");
        to.write_all(b"good-bye").await.expect("sent");
    })
    .await
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_way_ends_by_itself() {
    let (daemon, sandbox, _dir) = open().await;
    let upstream = echo().await;
    let mut client = daemon.connect().await;
    client.write_all(ask(&sandbox, upstream.port).as_bytes()).await.expect("sent");
    let head = hear(&mut client, "\r\n\r\n").await;
    let mut told = lines(&head);
    assert_eq!(told.remove(0), "HTTP/1.1 101 Switching Protocols");
    for line in ["connection: upgrade", "upgrade: Echo/1", "x-own: 1"] {
        assert!(told.contains(&line), "{line} in {told:?}");
    }
    let heard = upstream.heard();
    for line in ["GET /ws?a HTTP/1.1", "connection: upgrade", "upgrade: Echo/1", "sec-websocket-key: k"] {
        assert!(lines(&heard[0]).contains(&line), "{line} in {heard:?}");
    }
    let much: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut from, mut to) = client.split();
    let sending = async {
        to.write_all(&much).await.expect("sent");
        to.shutdown().await.expect("ended");
    };
    let mut back = Vec::new();
    let (_, received) = tokio::join!(sending, from.read_to_end(&mut back));
    received.expect("received");
    assert!(back.strip_suffix(b"good-bye") == Some(&much[..]), "{} bytes came back", back.len());
    daemon.stop().await;
}

#[tokio::test]
async fn nothing_passes_before_the_sandbox_has_agreed() {
    let (daemon, sandbox, _dir) = open().await;
    let refusing = Upstream::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    let smuggled = format!("GET /v1/sandboxes/{sandbox} HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = daemon.say(&format!("{}{smuggled}", ask(&sandbox, refusing.port))).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\nno"), "one answer, and the end: {answer}");
    assert!(refusing.heard().iter().all(|heard| !heard.contains(&smuggled)), "{:?}", refusing.heard());
    // Where it agrees, what came early passes after that.
    let agreeing = echo().await;
    let mut client = daemon.connect().await;
    client.write_all(format!("{}early", ask(&sandbox, agreeing.port)).as_bytes()).await.expect("sent");
    client.shutdown().await.expect("ended");
    let answer = hear(&mut client, "").await;
    assert!(answer.ends_with("\r\n\r\nearlygood-bye"), "{answer}");
    assert!(agreeing.heard()[0].ends_with("\r\n\r\n"), "{:?}", agreeing.heard());
    daemon.stop().await;
}

#[tokio::test]
async fn it_ends_with_the_sandbox() {
    let (daemon, sandbox, _dir) = open().await;
    let upstream = echo().await;
    let mut client = daemon.connect().await;
    client.write_all(ask(&sandbox, upstream.port).as_bytes()).await.expect("sent");
    hear(&mut client, "\r\n\r\n").await;
    client.write_all(b"ping").await.expect("sent");
    assert_eq!(hear(&mut client, "ping").await, "ping");
    let deleted = daemon.client(None).done(call(Method::DELETE, &format!("/v1/sandboxes/{sandbox}"))).await;
    deleted.expect("deleted");
    assert_eq!(hear(&mut client, "").await, "");
    daemon.stop().await;
}

#[tokio::test]
async fn it_keeps_its_place_among_the_connections() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), &[("BIVOUAC_MAX_CONNECTIONS", "3")]), FakeHost::new()).await;
    let sandbox = daemon.sandbox(None).await;
    let upstream = echo().await;
    let mut held = Vec::new();
    // Connections of before may still be on their way out.
    while held.len() < 3 {
        let mut client = daemon.connect().await;
        client.write_all(ask(&sandbox, upstream.port).as_bytes()).await.expect("sent");
        if hear(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 101 ") {
            held.push(client);
        }
    }
    assert!(daemon.say("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
    held.clear();
    let close = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    while !daemon.say(close).await.starts_with("HTTP/1.1 200 ") {}
    daemon.stop().await;
}

/// What a side that does not read is sent waits in a bounded place, and the other side waits with it.
#[tokio::test]
async fn whoever_does_not_read_holds_up_the_sender_alone() {
    const MUCH: usize = 64 << 20;
    let (daemon, sandbox, _dir) = open().await;
    for upgrade in [true, false] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let upstream = Upstream::start(move |mut stream, _| {
            let counted = Arc::clone(&counted);
            async move {
                let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n");
                let head = if upgrade { SWITCH } else { whole.as_str() };
                stream.write_all(head.as_bytes()).await.expect("sent");
                let piece = vec![7; 64 << 10];
                while counted.load(Ordering::Relaxed) < MUCH {
                    stream.write_all(&piece).await.expect("sent");
                    counted.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }
        })
        .await;
        let mut client = daemon.connect().await;
        let request = if upgrade { ask(&sandbox, upstream.port) } else { plain(&sandbox, upstream.port) };
        client.write_all(request.as_bytes()).await.expect("sent");
        let held = at_rest(&sent).await;
        assert!(held < MUCH / 2, "{held} bytes were taken from the sandbox and read by nobody");
        // Others go on meanwhile.
        daemon.client(None).done(call(Method::GET, "/v1/sandboxes")).await.expect("listed");
        client.shutdown().await.expect("ended");
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.expect("read");
        let head = all.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
        let (head, body) = all.split_at(head);
        let came = (head.starts_with(b"HTTP/1.1 "), body.len(), body.iter().all(|byte| *byte == 7));
        assert_eq!(came, (true, MUCH, true), "upgraded: {upgrade}; held {held}, sent {}", sent.load(Ordering::Relaxed));
    }
    daemon.stop().await;
}

fn plain(sandbox: &str, port: u16) -> String {
    format!("GET /v1/sandboxes/{sandbox}/proxy/{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

/// The count once it has grown and does so no more.
async fn at_rest(count: &AtomicUsize) -> usize {
    let (mut last, mut equal) = (0, 0);
    while equal < 20 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let now = count.load(Ordering::Relaxed);
        equal = if now == last && now > 0 { equal + 1 } else { 0 };
        last = now;
    }
    last
}
