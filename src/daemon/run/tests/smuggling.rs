//! Requests whose ends can be understood in two ways: the sandbox sees one request or none, written by us, and what is
//! behind it is never taken for a request by anybody.

use tokio::io::AsyncWriteExt;

use super::upstream::{Upstream, body, hear, lines};
use super::*;

const KEY: &str = "a-key-of-thirty-two-bytes-or-so-";
/// What would do harm if it were taken for a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: hidden\r\n\r\n";

/// Bodies with the headers that say where they end.
fn corpus() -> Vec<String> {
    let heads = [
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nContent-Length: 400",
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: 4, 5",
        "Content-Length: +4",
        "Content-Length: -1",
        "Content-Length: 0x4",
        "Content-Length: 4 4",
        "Content-Length: 4;x",
        "Content-Length: 18446744073709551620",
        "Content-Length:\t4",
        "Content-Length : 4",
        " Content-Length: 4",
        "X: y\r\n Content-Length: 4",
        "X: y\r\n\tTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:\u{b}chunked",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer_Encoding: chunked\r\nContent-Length: 4",
        "TE: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nConnection: close, Transfer-Encoding",
        "Content-Length: 4\r\nConnection: close, Content-Length",
        "Content-Length: 4\r\nConnection: close, Host, X-Forwarded-For",
        "Content-Length: 4\nX: y",
        "Content-Length: 4\rX: y",
        "Content-Length: 4\r\nX: a\0b",
        "Content-Length: 4\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
        "Content-Length: 4\r\nUpgrade: websocket\r\nConnection: Upgrade",
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Expect: 100-continue\r\nContent-Length: 4",
        "",
    ];
    let bodies = [
        "body",
        "4\r\nbody\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "4;ext=\"a\"\r\nbody\r\n0\r\n\r\n",
        "4;\nbody\r\n0\r\n\r\n",
        "+4\r\nbody\r\n0\r\n\r\n",
        "0x4\r\nbody\r\n0\r\n\r\n",
        "4\nbody\n0\n\n",
        "fffffffffffffffff\r\nbody\r\n0\r\n\r\n",
        "4\r\nbody0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
    ];
    heads.iter().flat_map(|head| bodies.iter().map(move |body| format!("{head}\r\n\r\n{body}"))).collect()
}

#[tokio::test]
async fn a_sandbox_sees_one_request_or_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), &[("BIVOUAC_API_KEY", KEY)]), FakeHost::new()).await;
    let sandbox = daemon.sandbox(Some(KEY)).await;
    let corpus = corpus();
    assert!(corpus.len() > 400);
    for rest in corpus {
        let upstream = Upstream::echoing().await;
        let path = format!("/v1/sandboxes/{sandbox}/proxy/{}/seen", upstream.port);
        let line = if rest.starts_with("\r\n") { "" } else { "\r\n" };
        let text = format!("POST {path} HTTP/1.1\r\nHost: x\r\nOPEN-SANDBOX-API-KEY: {KEY}{line}{rest}{HIDDEN}");
        let mut client = daemon.connect().await;
        drop(client.write_all(text.as_bytes()).await);
        drop(client.shutdown().await);
        let answer = hear(&mut client, "").await;
        let heard = upstream.heard();
        assert!(heard.len() <= 1, "{rest:?} became {heard:?}");
        // A connection over which nothing came was made for a request that broke off.
        for seen in heard.iter().filter(|seen| !seen.is_empty()) {
            let head = lines(seen);
            assert_eq!(head.first(), Some(&"POST /seen HTTP/1.1"), "{rest:?}");
            let framing =
                |line: &&&str| line.starts_with("content-length: ") || line.starts_with("transfer-encoding: ");
            assert!(head.iter().filter(framing).count() <= 1, "{rest:?} became {seen:?}");
            assert!(!seen.contains(KEY), "{rest:?} became {seen:?}");
            let carried = body(seen).contains("GET /hidden");
            // Part of a body whose length says so, and then no request of anybody.
            assert!(!carried || head.iter().any(|line| line.starts_with("content-length: 4")), "{rest:?}: {seen:?}");
        }
        // The hidden one has no key, so an answer to it would be a 401; it is none of the sandbox's in any case.
        assert!(!answer.contains("hidden") || heard.iter().any(|seen| seen.contains("hidden")), "{rest:?}: {answer}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_answer_belongs_to_its_request_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), &[]), FakeHost::new()).await;
    let sandbox = daemon.sandbox(None).await;
    // The program sends a second answer, for whoever comes next over the same connection.
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let upstream = Upstream::answering(poison).await;
    let mut client = daemon.connect().await;
    let request = format!("GET /sandboxes/{sandbox}/proxy/{} HTTP/1.1\r\nHost: x\r\n\r\n", upstream.port);
    for _ in 0..3 {
        client.write_all(request.as_bytes()).await.expect("sent");
        assert!(hear(&mut client, "one").await.starts_with("HTTP/1.1 200 OK"));
    }
    client.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
    let answer = hear(&mut client, "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("{\"status\":\"healthy\"}"), "{answer}");
    assert_eq!(upstream.heard().len(), 3);
    daemon.stop().await;
}
