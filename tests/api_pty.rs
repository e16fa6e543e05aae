//! Interactive processes of the exec API over a pretended host: what is refused, and pipes over a real WebSocket.

mod api_support;

use api_support::Server;
use axum::body::Body;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TcpStream>;

fn pty(sandbox: &str, rest: &str) -> String {
    format!("/v1/sandboxes/{sandbox}/proxy/44772/pty{rest}")
}

/// A sandbox with the directory that a real host makes for it.
async fn created(server: &Server) -> String {
    let sandbox = server.created(json!({})).await;
    std::fs::create_dir_all(server.dir.path().join("sandboxes").join(&sandbox)).expect("its directory");
    sandbox
}

async fn opened(server: &Server, sandbox: &str, body: Value) -> String {
    let reply = server.post(&pty(sandbox, ""), body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["session_id"].as_str().expect("an id").to_owned()
}

/// Connects over TCP; a refusal's status otherwise.
async fn connect(server: &Server, path: &str) -> Result<Socket, u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let router = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let stream = TcpStream::connect(address).await.expect("connected");
    match client_async(format!("ws://{address}{path}"), stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// Everything to the end: the binary messages by their first byte, and the last JSON.
async fn heard(socket: &mut Socket) -> (Vec<u8>, Vec<u8>, Vec<u8>, Value) {
    let (mut out, mut err, mut replay, mut last) = (Vec::new(), Vec::new(), Vec::new(), Value::Null);
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(bytes) => match bytes.split_first() {
                Some((1, rest)) => out.extend_from_slice(rest),
                Some((2, rest)) => err.extend_from_slice(rest),
                Some((3, rest)) => replay.extend_from_slice(&rest[8..]),
                _ => panic!("{bytes:?}"),
            },
            Message::Text(text) => last = serde_json::from_str(&text).expect("JSON"),
            _ => {}
        }
    }
    (out, err, replay, last)
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let server = Server::start().await;
    let sandbox = created(&server).await;
    for body in [json!({"command": "a", "argv": ["b"]}), json!({"argv": [""]}), json!({"user": "a", "uid": 1})] {
        let reply = server.post(&pty(&sandbox, ""), body.clone()).await;
        assert_eq!(reply.refusal(), (400, "INVALID_REQUEST_BODY".to_owned()), "{body}");
    }
    let unknown = "/0123456789abcdef0123456789abcdef";
    for (method, rest) in [("GET", unknown), ("DELETE", unknown), ("GET", "/x"), ("DELETE", "/x")] {
        let reply = server.send(method, &pty(&sandbox, rest), None).await;
        assert_eq!(reply.refusal(), (404, "CONTEXT_NOT_FOUND".to_owned()), "{method} {rest}");
    }
    let session = opened(&server, &sandbox, json!({"argv": ["cat"]})).await;
    let status = server.get(&pty(&sandbox, &format!("/{session}"))).await.json();
    assert_eq!(status, json!({"session_id": session, "running": false, "output_offset": 0}));
    let plain = server.raw("GET", &pty(&sandbox, &format!("/{session}/ws")), &[], Body::empty()).await;
    assert_eq!(plain.status, 400, "it speaks WebSocket only");
    for query in ["since=-1", "since=x", "cols=0", "rows=70000", "pty=maybe", "takeover=2", "streams=x"] {
        assert_eq!(
            connect(&server, &pty(&sandbox, &format!("/{session}/ws?{query}"))).await.err(),
            Some(400),
            "{query}"
        );
    }
    assert_eq!(connect(&server, &pty(&sandbox, &format!("{unknown}/ws"))).await.err(), Some(404));
    let nobody = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";
    assert_eq!(server.post(&pty(nobody, ""), json!({})).await.status, 404);
    server.send("POST", &format!("/v1/sandboxes/{sandbox}/pause"), None).await;
    assert_eq!(server.post(&pty(&sandbox, ""), json!({})).await.status, 409);
    assert_eq!(connect(&server, &pty(&sandbox, &format!("/{session}/ws"))).await.err(), Some(409));
}

#[tokio::test]
async fn pipes_over_a_websocket() {
    let server = Server::start().await;
    let sandbox = created(&server).await;
    let script = "cat; echo err >&2; exit 3";
    let session = opened(&server, &sandbox, json!({"argv": ["sh", "-c", script]})).await;
    let path = pty(&sandbox, &format!("/{session}/ws?pty=0"));
    let mut socket = connect(&server, &path).await.expect("connected");
    assert_eq!(connect(&server, &path).await.err(), Some(409), "one at a time");
    socket.send(Message::binary(b"\0a\0b".to_vec())).await.expect("sent");
    socket.send(Message::text(json!({"type": "stdin", "data": "c"}).to_string())).await.expect("sent");
    socket.send(Message::text(json!({"type": "eof"}).to_string())).await.expect("sent");
    let (out, err, replay, last) = heard(&mut socket).await;
    assert_eq!((out.as_slice(), err.as_slice(), replay.len()), (b"a\0bc".as_slice(), b"err\n".as_slice(), 0));
    assert_eq!(last, json!({"type": "exit", "exit_code": 3}));
    let mut again = connect(&server, &format!("{path}&since=1")).await.expect("connected");
    let (out, _, replay, last) = heard(&mut again).await;
    assert_eq!((out.len(), replay.len(), last["exit_code"].as_i64()), (0, 7, Some(3)));
    assert_eq!(server.send("DELETE", &pty(&sandbox, &format!("/{session}")), None).await.status, 200);
    assert_eq!(server.get(&pty(&sandbox, &format!("/{session}"))).await.status, 404);
}

#[tokio::test]
async fn attaching_is_refused_where_nothing_is_handed_out() {
    let server = Server::start().await;
    let sandbox = created(&server).await;
    let path = |id: &str, query: &str| format!("/v1/sandboxes/{id}/attach{query}");
    let plain = server.get(&path(&sandbox, "")).await;
    assert_eq!(plain.status, 400, "it speaks WebSocket only");
    for query in ["?since=-1", "?since=x", "?takeover=2", "?acks=x"] {
        assert_eq!(connect(&server, &path(&sandbox, query)).await.err(), Some(400), "{query}");
    }
    assert_eq!(connect(&server, &path("0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11", "")).await.err(), Some(404));
    // The pretended host knows no entrypoint, as a PID 1 of an earlier version.
    assert_eq!(connect(&server, &path(&sandbox, "")).await.err(), Some(409));
    server.send("POST", &format!("/v1/sandboxes/{sandbox}/pause"), None).await;
    assert_eq!(connect(&server, &path(&sandbox, "")).await.err(), Some(409));
}
