//! Requests to ports of sandboxes, over real sockets: what arrives, what comes back, and who may ask.

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::upstream::{Upstream, body, hear, lines, refusal};
use super::*;

const KEY: &str = "a-key-of-thirty-two-bytes-or-so-";

async fn open(variables: &[(&str, &str)]) -> (Daemon, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), variables), FakeHost::new()).await;
    let key = variables.iter().find(|(name, _)| *name == "BIVOUAC_API_KEY").map(|(_, key)| *key);
    let sandbox = daemon.sandbox(key).await;
    (daemon, sandbox, dir)
}

/// A request that ends its connection.
fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: outside.example:8080\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn the_request_arrives_as_it_was_meant_and_without_what_is_ours() {
    let (daemon, sandbox, _dir) = open(&[("BIVOUAC_API_KEY", KEY)]).await;
    let upstream = Upstream::echoing().await;
    let prefix = format!("/v1/sandboxes/{sandbox}/proxy/{}", upstream.port);
    let asked = format!(
        "PURGE {prefix}//a%2Fb/../c?q=%41&x=a+b&&z HTTP/1.1\r\nHost: outside.example:8080\r\nOPEN-SANDBOX-API-KEY: {KEY}\r\n\
         Connection: close, X-Private\r\nX-Private: 1\r\nAuthorization: Bearer x\r\nCookie: a=b\r\n\
         OpenSandbox-Secure-Access: t\r\nX-Execd-Access-Token: t\r\nOPENSANDBOX-EGRESS-AUTH: t\r\nForwarded: for=1.2.3.4\r\n\
         X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Anything: y\r\nX-Real-IP: 1.2.3.4\r\n\
         OpenSandbox-Access-Renew: skip\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: x\r\n\
         Accept-Encoding: br\r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 4\r\n\r\nbody"
    );
    let answer = daemon.say(&asked).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let seen = body(&answer);
    let mut lines = lines(seen);
    assert_eq!(lines.remove(0), "PURGE //a%2Fb/../c?q=%41&x=a+b&&z HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: localhost:{}", upstream.port);
    let expected = [
        "accept-encoding: br",
        "connection: close",
        "content-length: 4",
        host.as_str(),
        "x-forwarded-host: outside.example:8080",
        "x-forwarded-proto: http",
        "x-twice: 1",
        "x-twice: 2",
    ];
    assert_eq!((lines, body(seen)), (expected.to_vec(), "body"));
    daemon.stop().await;
}

#[tokio::test]
async fn the_answer_comes_back_as_it_is_but_for_what_a_sandbox_must_not_say() {
    let (daemon, sandbox, _dir) = open(&[]).await;
    let upstream = Upstream::answering(
        "HTTP/1.1 302 Found\r\nLocation: /login?a=b\r\nServer: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
         Content-Encoding: br\r\nConnection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nAlt-Svc: h3\r\n\
         Strict-Transport-Security: max-age=1\r\nService-Worker-Allowed: /\r\nContent-Length: 5\r\n\r\n\u{1}\u{2}\u{3}\u{4}\u{5}",
    )
    .await;
    for (mount, way) in [("/v1", ""), ("", "/x?y")] {
        let prefix = format!("{mount}/sandboxes/{sandbox}/proxy/{}", upstream.port);
        let answer = daemon.say(&get(&format!("{prefix}{way}"), "")).await;
        let mut lines = lines(&answer);
        assert_eq!(lines.remove(0), "HTTP/1.1 302 Found");
        lines.retain(|line| !line.starts_with("x-request-id: ") && !line.starts_with("date: "));
        lines.sort_unstable();
        let location = format!("location: {prefix}/login?a=b");
        let expected = [
            "connection: close",
            "content-encoding: br",
            "content-length: 5",
            location.as_str(),
            "set-cookie: a=1",
            "set-cookie: b=2",
        ];
        assert_eq!((lines, body(&answer)), (expected.to_vec(), "\u{1}\u{2}\u{3}\u{4}\u{5}"));
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nConnection: close\r\n\r\n";
    let upstream = Upstream::answering(head).await;
    let path = format!("/v1/sandboxes/{sandbox}/proxy/{}/", upstream.port);
    let answer = daemon.say(&get(&path, "").replacen("GET", "HEAD", 1)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("content-length: 1234\r\n"), "{answer}");
    assert!(upstream.heard().iter().all(|heard| heard.starts_with("HEAD / ")));
    daemon.stop().await;
}

#[tokio::test]
async fn streams_pass_both_ways_as_they_come() {
    let (daemon, sandbox, _dir) = open(&[]).await;
    let (go, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let upstream = {
        let (go, heard) = (Arc::clone(&go), Arc::clone(&heard));
        Upstream::start(move |mut stream, said| {
            let (go, heard) = (Arc::clone(&go), Arc::clone(&heard));
            async move {
                assert!(said.contains("transfer-encoding: chunked") && said.ends_with("0\r\n\r\n"), "{said}");
                heard.notify_one();
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
                stream.write_all(head.as_bytes()).await.expect("sent");
                go.notified().await;
                stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.expect("sent");
            }
        })
        .await
    };
    let mut client = daemon.connect().await;
    let head = format!(
        "POST /sandboxes/{sandbox}/proxy/{} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        upstream.port
    );
    client.write_all(head.as_bytes()).await.expect("sent");
    client.write_all(b"4\r\nbody\r\n0\r\n\r\n").await.expect("sent");
    heard.notified().await;
    hear(&mut client, "3\r\none\r\n").await;
    go.notify_one();
    assert_eq!(hear(&mut client, "").await, "3\r\ntwo\r\n0\r\n\r\n");
    daemon.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_at_the_port_is_said() {
    let (daemon, sandbox, _dir) = open(&[("BIVOUAC_PROXY_TIMEOUT_SECONDS", "1")]).await;
    let ask = async |port: u16| refusal(&daemon.say(&get(&format!("/sandboxes/{sandbox}/proxy/{port}/x"), "")).await);
    let closed = Upstream::echoing().await.port;
    while tokio::net::TcpStream::connect(("127.0.0.1", closed)).await.is_ok() {}
    assert_eq!(ask(closed).await, (502, "BACKEND_CONNECTION_FAILED".into()));
    for garbage in ["", "SSH-2.0-x\r\n", "HTTP/1.1 2000 x\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"] {
        let upstream = Upstream::answering(garbage).await;
        assert_eq!(ask(upstream.port).await, (502, "BACKEND_RESPONSE_FAILED".into()), "{garbage}");
    }
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(ask(Upstream::answering(switched).await.port).await, (502, "BACKEND_RESPONSE_FAILED".into()));
    let silent = Upstream::start(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    assert_eq!(ask(silent.await.port).await, (504, "BACKEND_TIMEOUT".into()));
    let bare = daemon.say(&get(&format!("/sandboxes/{sandbox}/proxy/0{closed}"), "")).await;
    assert_eq!(refusal(&bare), (400, "SANDBOX::INVALID_PARAMETER".into()));
    let exec = daemon.say(&get(&format!("/sandboxes/{sandbox}/proxy/44772/nosuch"), "")).await;
    assert_eq!(refusal(&exec), (404, "SANDBOX::ROUTE_NOT_FOUND".into()));
    daemon.stop().await;
}

#[tokio::test]
async fn a_sandbox_that_does_not_run_is_not_reached() {
    let (daemon, sandbox, _dir) = open(&[]).await;
    let upstream = Upstream::start(|mut stream, _| async move {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        std::future::pending::<()>().await;
    })
    .await;
    let path = format!("/v1/sandboxes/{sandbox}/proxy/{}", upstream.port);
    let client = daemon.client(None);
    let mut streaming = daemon.connect().await;
    streaming.write_all(get(&path, "").as_bytes()).await.expect("sent");
    hear(&mut streaming, "3\r\none\r\n").await;
    client.done(call(Method::POST, &format!("/v1/sandboxes/{sandbox}/pause"))).await.expect("paused");
    assert_eq!(refusal(&daemon.say(&get(&path, "")).await), (409, "DOCKER::SANDBOX_NOT_RUNNING".into()));
    client.done(call(Method::DELETE, &format!("/v1/sandboxes/{sandbox}"))).await.expect("deleted");
    let rest = hear(&mut streaming, "").await;
    assert!(!rest.ends_with("0\r\n\r\n"), "a stream that was cut has no proper end: {rest}");
    assert_eq!(refusal(&daemon.say(&get(&path, "")).await), (404, "DOCKER::SANDBOX_NOT_FOUND".into()));
    assert_eq!(upstream.heard().len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_port_opens_to_key_token_and_signed_address() {
    let (daemon, sandbox, dir) = open(&[("BIVOUAC_API_KEY", KEY)]).await;
    let upstream = Upstream::echoing().await;
    let keyed = format!("OPEN-SANDBOX-API-KEY: {KEY}\r\n");
    let endpoint = async |daemon: &Daemon, query: &str| -> Value {
        let path = format!("/v1/sandboxes/{sandbox}/endpoints/{}{query}", upstream.port);
        serde_json::from_str(body(&daemon.say(&get(&path, &keyed)).await)).expect("JSON")
    };
    let told = endpoint(&daemon, "").await;
    let token = told["headers"]["OpenSandbox-Secure-Access"].as_str().expect("a token");
    let token = format!("OpenSandbox-Secure-Access: {token}\r\n");
    let signed = endpoint(&daemon, "?expires=4102444800").await["endpoint"].as_str().expect("text").to_owned();
    let signed = signed.strip_prefix("outside.example:8080").expect("our host").to_owned();
    let plain = format!("/v1/sandboxes/{sandbox}/proxy/{}", upstream.port);
    let inner = format!("/v1/sandboxes/{sandbox}/proxy/44772/proxy/{}/x", upstream.port);
    let closed = (401, "MISSING_OR_INVALID_SECURE_ACCESS".to_owned());
    for (path, headers, lets_in) in [
        (&plain, "", false),
        (&plain, keyed.as_str(), true),
        (&plain, token.as_str(), true),
        (&signed, "", true),
        (&signed, "Origin: http://page.example\r\nSec-Fetch-Site: cross-site\r\n", true),
        (&inner, token.as_str(), false),
        (&inner, keyed.as_str(), true),
    ] {
        let answer = daemon.say(&get(path, headers)).await;
        let status = if lets_in { 200 } else { 401 };
        assert_eq!(refusal(&answer).0, status, "{path} {headers}: {answer}");
        assert!(lets_in || refusal(&answer) == closed, "{answer}");
    }
    let heard = upstream.heard().join("");
    assert!(!heard.contains(KEY) && !heard.to_lowercase().contains("secure-access"), "{heard}");
    // The next daemon knows the same tokens, and `open_ports` asks for none.
    daemon.stop().await;
    drop(dir);
}

#[tokio::test]
async fn ports_are_open_to_browsers_where_the_operator_says_so() {
    let page = "Origin: http://page.example\r\nSec-Fetch-Site: cross-site\r\n";
    let (daemon, sandbox, _dir) = open(&[]).await;
    let upstream = Upstream::echoing().await;
    let path = format!("/v1/sandboxes/{sandbox}/proxy/{}", upstream.port);
    assert_eq!(refusal(&daemon.say(&get(&path, page)).await), (403, "SANDBOX::BROWSER_REFUSED".into()));
    daemon.stop().await;
    let variables = [("BIVOUAC_API_KEY", KEY), ("BIVOUAC_PROXY_OPEN_PORTS", "true")];
    let (daemon, sandbox, _dir) = open(&variables).await;
    let path = format!("/v1/sandboxes/{sandbox}/proxy/{}", upstream.port);
    assert_eq!(refusal(&daemon.say(&get(&path, page)).await).0, 200);
    for closed in [format!("/v1/sandboxes/{sandbox}/proxy/44772/ping"), format!("/v1/sandboxes/{sandbox}")] {
        assert_eq!(refusal(&daemon.say(&get(&closed, page)).await).0, 401, "{closed}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn credentials_for_the_program_reach_it_where_the_operator_says_so() {
    for (passes, expected) in [("true", ["Bearer x", "-", "-"]), ("false", ["-", "-", "-"])] {
        let variables = [("BIVOUAC_API_KEY", KEY), ("BIVOUAC_PROXY_PASS_AUTHORIZATION", passes)];
        let (daemon, sandbox, _dir) = open(&variables).await;
        let upstream = Upstream::echoing().await;
        let path = format!("/v1/sandboxes/{sandbox}/proxy/{}", upstream.port);
        let mut seen = Vec::new();
        for credentials in ["Bearer x", "Basic eDp5", "Bearer x\r\nAuthorization: Basic eDp5"] {
            let headers = format!("OPEN-SANDBOX-API-KEY: {KEY}\r\nAuthorization: {credentials}\r\n");
            let answer = daemon.say(&get(&path, &headers)).await;
            assert_eq!(refusal(&answer).0, 200, "{answer}");
            let found = lines(body(&answer)).into_iter().find_map(|line| line.strip_prefix("authorization: "));
            seen.push(found.unwrap_or("-").to_owned());
        }
        assert_eq!(seen, expected);
        daemon.stop().await;
    }
}
