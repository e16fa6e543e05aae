//! The output of sandboxes, as it was and as it comes.

mod api_support;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use api_support::{Server, id};
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

/// Writes as PID 1 does.
struct Writer(PathBuf);

impl Writer {
    fn of(server: &Server, id: &str) -> Self {
        let dir = server.dir.path().join("sandboxes").join(id);
        std::fs::create_dir(&dir).expect("a directory");
        let header = [&b"BVKLOG1\n"[..], &1u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
        std::fs::write(dir.join("log.0"), header).expect("written");
        Self(dir.join("log.0"))
    }

    fn write(&self, stream: u8, payload: &str) {
        let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
        let frame = [&[stream, 0, 0, 0][..], &length, &1_790_000_000_000_000_000u64.to_le_bytes(), payload.as_bytes()];
        File::options().append(true).open(&self.0).expect("open").write_all(&frame.concat()).expect("written");
    }
}

async fn with_output() -> (Server, String, Writer) {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    let writer = Writer::of(&server, &id);
    writer.write(1, "line1\n");
    writer.write(2, "line2\n");
    (server, id, writer)
}

#[tokio::test]
async fn both_streams_as_text_or_as_frames() {
    let (server, id, _writer) = with_output().await;
    let reply = server.get(&format!("/v1/sandboxes/{id}/logs")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "line1\nline2\n"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let reply = server.get(&format!("/v1/sandboxes/{id}/logs?frames=true")).await;
    assert_eq!(reply.header("content-type"), Some("application/vnd.docker.multiplexed-stream"));
    assert_eq!(reply.body, b"\x01\0\0\0\0\0\0\x06line1\n\x02\0\0\0\0\0\0\x06line2\n");
}

#[tokio::test]
async fn parts_of_a_log() {
    let (server, id, _writer) = with_output().await;
    let part = async |query: &str| server.get(&format!("/v1/sandboxes/{id}/logs?{query}")).await.text();
    assert_eq!(part("tail=1").await, "line2\n");
    assert_eq!(part("tail=0").await, "");
    assert_eq!(part("since=2026-09-21T00:00:00Z").await, "line1\nline2\n");
    assert_eq!(part("since=2030-01-01T00:00:00Z").await, "");
    for bad in ["tail=-1", "tail=x", "since=soon", "follow=maybe", "frames=2"] {
        assert_eq!(server.get(&format!("/v1/sandboxes/{id}/logs?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_sandbox_without_output_has_an_empty_log() {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    let reply = server.get(&format!("/v1/sandboxes/{id}/logs")).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
}

#[tokio::test]
async fn following_shows_what_comes_and_ends_with_the_sandbox() {
    let (server, sandbox, writer) = with_output().await;
    let request =
        Request::get(format!("/v1/sandboxes/{sandbox}/logs?follow=true")).body(Body::empty()).expect("a request");
    let mut body = server.router.clone().oneshot(request).await.expect("infallible").into_body();
    let mut next = async || {
        let frame = body.frame().await?.expect("a whole body");
        Some(String::from_utf8_lossy(frame.data_ref()?).into_owned())
    };
    assert_eq!(next().await.as_deref(), Some("line1\nline2\n"));
    writer.write(1, "line3\n");
    assert_eq!(next().await.as_deref(), Some("line3\n"));
    writer.write(1, "last\n");
    server.host.exit(&id(&sandbox), 0);
    assert_eq!(next().await.as_deref(), Some("last\n"));
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn following_ends_when_the_sandbox_is_deleted() {
    let (server, sandbox, _writer) = with_output().await;
    let whole = format!("/v1/sandboxes/{sandbox}");
    let path = format!("{whole}/logs?follow=1&tail=0");
    let (followed, deleted) = tokio::join!(server.get(&path), server.send("DELETE", &whole, None));
    assert_eq!((followed.status, deleted.status), (200, 204));
}

#[tokio::test]
async fn diagnostics_of_logs() {
    let (server, id, _writer) = with_output().await;
    let path = format!("/v1/sandboxes/{id}/diagnostics/logs");
    let reply = server.get(&format!("{path}?scope=Container")).await;
    assert_eq!(
        reply.json(),
        json!({"sandboxId": id, "kind": "logs", "scope": "container", "delivery": "inline",
            "contentType": "text/plain; charset=utf-8", "content": "line1\nline2\n", "contentLength": 12,
            "truncated": false})
    );
    assert!(reply.header("deprecation").is_none());
    let all = server.get(&format!("{path}?scope=all")).await.json();
    assert!(all["warnings"].as_array().is_some_and(|warnings| warnings.len() == 1), "{all}");
    let other = server.get(&format!("{path}?scope=lifecycle")).await;
    assert_eq!(other.refusal(), (400, "DIAGNOSTICS_SCOPE_UNSUPPORTED".into()));
    assert_eq!(other.message(), "Unsupported logs diagnostics scope 'lifecycle'. Supported scopes: container, all.");
    let old = server.get(&format!("{path}?tail=1")).await;
    assert_eq!((old.text().as_str(), old.header("deprecation")), ("line2\n", Some("true")));
    let silent = server.created(json!({})).await;
    assert_eq!(server.get(&format!("/v1/sandboxes/{silent}/diagnostics/logs")).await.text(), "(no logs)");
}

#[tokio::test]
async fn diagnostics_of_events() {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    let path = format!("/v1/sandboxes/{id}/diagnostics/events");
    let body = server.get(&format!("{path}?scope=all")).await.json();
    assert_eq!((&body["kind"], &body["scope"]), (&json!("events"), &json!("all")));
    assert!(body["content"].as_str().is_some_and(|text| text.contains("Running: started")), "{body}");
    assert_eq!(server.get(&format!("{path}?scope=container")).await.refusal().1, "DIAGNOSTICS_SCOPE_UNSUPPORTED");
    assert_eq!(server.get(&path).await.header("deprecation"), Some("true"));
}
