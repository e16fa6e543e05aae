//! Requests that are wrong in every way: each is refused with a reason, and nothing of it stays.

mod api_support;

use api_support::{Server, request};
use axum::body::Body;
use serde_json::{Value, json};

const PARAMETER: &str = "SANDBOX::INVALID_PARAMETER";

/// Bodies of a create that are no JSON objects of ours, byte for byte.
fn malformed() -> Vec<(&'static str, Vec<u8>, u16)> {
    let valid = request(json!({})).to_string();
    let twice = valid.replacen('{', "{\"timeout\":60,\"timeout\":600,", 1);
    let inner = valid.replace("\"cpu\":\"1\"", "\"cpu\":\"1\",\"cpu\":\"64\"");
    let escaped = valid.replacen('{', "{\"timeout\":60,\"time\\u006fut\":600,", 1);
    vec![
        ("nothing", Vec::new(), 400),
        ("no JSON", b"{not json".to_vec(), 400),
        ("an array", b"[]".to_vec(), 400),
        ("a text", b"\"x\"".to_vec(), 400),
        ("null", b"null".to_vec(), 400),
        ("a number", b"1".to_vec(), 400),
        ("a form", b"image=python&entrypoint=sh".to_vec(), 400),
        ("a key twice", twice.into_bytes(), 400),
        ("an inner key twice", inner.into_bytes(), 400),
        ("a key twice, once escaped", escaped.into_bytes(), 400),
        ("trailing data", format!("{valid}x").into_bytes(), 400),
        ("two documents", format!("{valid}{valid}").into_bytes(), 400),
        ("a byte order mark", format!("\u{feff}{valid}").into_bytes(), 400),
        ("UTF-16", valid.encode_utf16().flat_map(u16::to_le_bytes).collect(), 400),
        (
            "broken UTF-8 in a value",
            valid
                .replace("python:3.11", "#")
                .into_bytes()
                .into_iter()
                .map(|b| if b == b'#' { 0xff } else { b })
                .collect(),
            400,
        ),
        ("overlong UTF-8", [&b"{\"image\":{\"uri\":\""[..], b"\xc0\xaf", b"\"}}"].concat(), 400),
        ("a lone surrogate", valid.replace("python:3.11", "\\ud800").into_bytes(), 400),
        ("a raw newline in a text", valid.replace("python:3.11", "a\nb").into_bytes(), 400),
        ("NaN", valid.replace("\"1\"", "NaN").into_bytes(), 400),
        ("a number beyond all", valid.replacen('{', "{\"timeout\":1e400,", 1).into_bytes(), 400),
        ("a number beyond 64 bits", valid.replacen('{', "{\"timeout\":18446744073709551616,", 1).into_bytes(), 400),
        ("deep arrays", "[".repeat(500_000).into_bytes(), 400),
        ("deep objects", "{\"a\":".repeat(200_000).into_bytes(), 400),
        (
            "depth in an unknown field",
            valid.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(5000), "]".repeat(5000)), 1).into_bytes(),
            400,
        ),
        ("a megabyte and more", vec![b' '; (1 << 20) + 1], 413),
        ("a text of two megabytes", valid.replace("tail", &"x".repeat(2 << 20)).into_bytes(), 413),
    ]
}

#[tokio::test]
async fn malformed_bodies() {
    let server = Server::start().await;
    for (what, body, status) in malformed() {
        let reply = server.raw("POST", "/v1/sandboxes", &[], Body::from(body)).await;
        let code = if status == 413 { "SANDBOX::BODY_TOO_LARGE" } else { PARAMETER };
        assert_eq!(reply.refusal(), (status, code.into()), "{what}: {}", reply.text());
        server.assert_empty(what).await;
    }
}

/// Fields of a create that break a rule.
fn wrong() -> Vec<(Value, &'static str)> {
    let volume = |backend: Value| json!({"volumes": [{"name": "v", "mountPath": "/x", "host": backend}]});
    vec![
        (json!({"image": null}), PARAMETER),
        (json!({"image": 5}), PARAMETER),
        (json!({"image": {"uri": ""}}), PARAMETER),
        (json!({"snapshotId": "s"}), PARAMETER),
        (json!({"templateId": "t"}), PARAMETER),
        (json!({"image": null, "snapshotId": "s"}), "SNAPSHOT::NOT_FOUND"),
        (json!({"entrypoint": []}), PARAMETER),
        (json!({"entrypoint": [5]}), PARAMETER),
        (json!({"entrypoint": ["sh\0"]}), PARAMETER),
        (json!({"entrypoint": ["sh", "x".repeat(150_000)]}), PARAMETER),
        (json!({"env": {"A": "x".repeat(150_000)}}), PARAMETER),
        (json!({"env": {"A=": "x"}}), PARAMETER),
        (json!({"env": ["A=x"]}), PARAMETER),
        (json!({"env": {"OPENSANDBOX_EGRESS_TOKEN": "x"}}), PARAMETER),
        (json!({"env": {"OPENSANDBOX_LIFECYCLE": "x"}}), PARAMETER),
        (json!({"timeout": 30}), PARAMETER),
        (json!({"timeout": -600}), PARAMETER),
        (json!({"timeout": 1e18}), PARAMETER),
        (json!({"timeout": i64::MAX}), PARAMETER),
        (json!({"timeout": i64::MIN}), PARAMETER),
        (json!({"timeout": 100_000}), PARAMETER),
        (json!({"timeout": "600"}), PARAMETER),
        (json!({"resourceLimits": null}), PARAMETER),
        (json!({"resourceLimits": {"cpu": "-1"}}), PARAMETER),
        (json!({"resourceLimits": {"cpu": "9999999999999999999999"}}), PARAMETER),
        (json!({"resourceLimits": {"memory": "0"}}), PARAMETER),
        (json!({"resourceLimits": {"memory": "99999999Ti"}}), PARAMETER),
        (json!({"resourceLimits": {"gpu": "all"}}), PARAMETER),
        (json!({"metadata": {"a b": "1"}}), "SANDBOX::INVALID_METADATA_LABEL"),
        (json!({"metadata": {"opensandbox.io/x": "1"}}), "SANDBOX::INVALID_METADATA_LABEL"),
        (json!({"metadata": {"a": {"b": "c"}}}), PARAMETER),
        (json!({"platform": {"os": "plan9", "arch": "amd64"}}), PARAMETER),
        (json!({"secureAccess": true}), PARAMETER),
        (json!({"networkPolicy": {"defaultAction": "deny", "egress": []}}), PARAMETER),
        (json!({"credentialProxy": {"enabled": true}}), PARAMETER),
        (json!({"lifecycle": {"preStart": {"command": ["true"]}}}), PARAMETER),
        (json!({"extensions": {"poolRef": "p"}}), "SANDBOX::UNSUPPORTED_POOL_REF"),
        (json!({"extensions": {"access.renew.extend.seconds": "10"}}), PARAMETER),
        (volume(json!({"path": "/etc"})), "VOLUME::HOST_PATH_NOT_ALLOWED"),
        (volume(json!(null)), "VOLUME::INVALID_BACKEND"),
    ]
}

#[tokio::test]
async fn wrong_fields() {
    let server = Server::start().await;
    for (changes, code) in wrong() {
        let shown: String = changes.to_string().chars().take(80).collect();
        let reply = server.post("/v1/sandboxes", request(changes)).await;
        assert!((400..500).contains(&reply.status), "{shown}: {}", reply.text());
        assert_eq!(reply.refusal().1, code, "{shown}: {}", reply.text());
        assert!(reply.body.len() < 2000, "{shown}: the answer repeats too much of the request");
        server.assert_empty(&shown).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_of() {
    let server = Server::start().await;
    server.host.fill_disk(true);
    let reply = server.post("/v1/sandboxes", request(json!({}))).await;
    assert_eq!(reply.refusal(), (507, "SANDBOX::INSUFFICIENT_STORAGE".into()));
    assert!(reply.message().contains("the disk is full"), "{}", reply.message());
    server.assert_empty("a full disk").await;
}

#[tokio::test]
async fn an_unknown_image_is_refused_with_what_to_do() {
    let server = Server::start().await;
    server.host.forget_image("nosuch:1");
    let reply = server.post("/v1/sandboxes", request(json!({"image": {"uri": "nosuch:1"}}))).await;
    assert_eq!(reply.refusal(), (400, "SANDBOX::IMAGE_NOT_FOUND".into()));
    let message = reply.message();
    assert!(message.contains("nosuch:1") && message.contains("bivouac image import"), "{message}");
    assert!(message.contains("There are no images here yet"), "{message}");
    server.assert_empty("an unknown image").await;
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let server = Server::start().await;
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/json; charset=latin1")]]
    {
        let body = Body::from(request(json!({})).to_string());
        assert_eq!(server.raw("POST", "/v1/sandboxes", headers, body).await.status, 202, "{headers:?}");
    }
}

#[tokio::test]
async fn a_declared_length_above_the_cap_is_refused_unread() {
    let server = Server::start().await;
    // A body that never comes: only the declared length is looked at.
    let (_open, receiver) = tokio::sync::mpsc::channel::<axum::body::Bytes>(1);
    let body = Body::new(Declared(receiver));
    let reply = server.raw("POST", "/v1/sandboxes", &[], body).await;
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let server = Server::start().await;
    tokio::time::pause();
    let (_open, receiver) = tokio::sync::mpsc::channel::<axum::body::Bytes>(1);
    let reply = server.raw("POST", "/v1/sandboxes", &[], Body::new(Endless(receiver))).await;
    assert_eq!(reply.refusal(), (408, "SANDBOX::REQUEST_TIMEOUT".into()));
}

#[tokio::test]
async fn renewals_that_are_no_times() {
    let server = Server::start().await;
    let id = server.created(json!({"timeout": 600})).await;
    let path = format!("/v1/sandboxes/{id}/renew-expiration");
    for body in [
        json!({}),
        json!({"expiresAt": null}),
        json!({"expiresAt": ""}),
        json!({"expiresAt": "tomorrow"}),
        json!({"expiresAt": 1_893_456_000}),
        json!({"expiresAt": "2031-02-30T00:00:00Z"}),
        json!({"expiresAt": "9999-12-31T23:59:59Z"}),
        json!({"expiresAt": "2031-01-01"}),
        json!([]),
    ] {
        assert_eq!(server.post(&path, body.clone()).await.refusal(), (400, PARAMETER.into()), "{body}");
    }
}

#[tokio::test]
async fn queries_that_break_a_rule() {
    let server = Server::start().await;
    for query in [
        "page=0",
        "page=-1",
        "page=x",
        "page=99999999999",
        "pageSize=0",
        "pageSize=201",
        "pageSize=500",
        "pageSize=",
        "state=%ff",
    ] {
        let reply = server.get(&format!("/v1/sandboxes?{query}")).await;
        assert_eq!(reply.refusal(), (400, PARAMETER.into()), "{query}");
    }
    let reply = server.get("/v1/sandboxes?metadata=broken").await;
    assert_eq!(reply.refusal(), (400, "INVALID_METADATA_FORMAT".into()));
    assert_eq!(reply.message(), "Invalid metadata format: bad query field: 'broken'");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods() {
    let server = Server::start().await;
    for path in
        ["/v1/nosuch", "/", "/v2/sandboxes", "/v1", "/v1/", "/metrics/events", "/v1/health", "/docs", "//v1/sandboxes"]
    {
        let reply = server.get(path).await;
        assert_eq!(reply.refusal(), (404, "SANDBOX::ROUTE_NOT_FOUND".into()), "{path}");
    }
    let reply = server.send("PUT", "/v1/sandboxes", None).await;
    assert_eq!(reply.refusal(), (405, "SANDBOX::METHOD_NOT_ALLOWED".into()));
    let mut allowed: Vec<_> = reply.header("allow").expect("Allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    assert_eq!(server.send("DELETE", "/health", None).await.status, 405);
    assert_eq!(server.send("POST", "/v1/sandboxes/x/proxy/80", None).await.status, 404);
    assert_eq!(server.raw("BREW", "/v1/sandboxes", &[], Body::empty()).await.status, 405);
}

#[tokio::test]
async fn what_this_version_lacks_says_so() {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    let of = |tail: &str| format!("/v1/sandboxes/{id}/{tail}");
    for (method, path, code) in [
        ("POST", of("snapshots"), "SNAPSHOT::NOT_IMPLEMENTED"),
        ("GET", "/snapshots".into(), "SNAPSHOT::NOT_IMPLEMENTED"),
        ("DELETE", "/v1/snapshots/x".into(), "SNAPSHOT::NOT_IMPLEMENTED"),
        ("GET", "/v1/pools".into(), "KUBERNETES::POOL_NOT_SUPPORTED"),
        ("PUT", "/v1/pools/p".into(), "KUBERNETES::POOL_NOT_SUPPORTED"),
        ("GET", "/v1/templates".into(), "FSB::API_NOT_SUPPORTED"),
        ("POST", "/templates".into(), "FSB::API_NOT_SUPPORTED"),
    ] {
        assert_eq!(server.send(method, &path, None).await.refusal(), (501, code.into()), "{method} {path}");
    }
}

/// A body that says that it is large, and never comes.
struct Declared(tokio::sync::mpsc::Receiver<axum::body::Bytes>);

/// A body of which nothing ever comes.
struct Endless(tokio::sync::mpsc::Receiver<axum::body::Bytes>);

type Piece = Option<Result<hyper::body::Frame<axum::body::Bytes>, std::io::Error>>;

fn poll(
    pieces: &mut tokio::sync::mpsc::Receiver<axum::body::Bytes>,
    context: &mut std::task::Context<'_>,
) -> std::task::Poll<Piece> {
    pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
}

impl hyper::body::Body for Declared {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Piece> {
        poll(&mut self.0, context)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(1 << 40)
    }
}

impl hyper::body::Body for Endless {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Piece> {
        poll(&mut self.0, context)
    }
}
