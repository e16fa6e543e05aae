//! Who is let in, which request is which, and what the server says of itself.

mod api_support;

use api_support::{Server, request, schema};
use axum::body::Body;
use bivouac::api::Auth;
use bivouac::api::auth::ApiKey;
use bivouac::sandbox::LifecycleConfig;
use serde_json::json;

const KEY: &str = "a-key-of-thirty-two-bytes-or-so-";
const HEADER: &str = "OPEN-SANDBOX-API-KEY";

async fn locked() -> Server {
    let keys =
        vec![ApiKey::parse(KEY).expect("a key"), ApiKey::parse("another-key-of-thirty-two-bytes!").expect("a key")];
    Server::with(LifecycleConfig::default(), Auth::Keys(keys)).await
}

#[tokio::test]
async fn every_operation_but_the_open_ones_asks_for_the_key() {
    let server = locked().await;
    for (pattern, item) in schema::document()["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations").iter().filter(|(_, it)| it.is_object()) {
            let open = operation["security"] == json!([]);
            let path = pattern.replace(['{', '}'], "");
            for prefix in ["", "/v1"] {
                let reply = server.raw(&method.to_uppercase(), &format!("{prefix}{path}"), &[], Body::empty()).await;
                let refused = reply.status == 401 && reply.refusal().1 == "MISSING_API_KEY";
                assert_eq!(refused, !(open && prefix.is_empty()), "{method} {prefix}{path}: {}", reply.status);
            }
        }
    }
}

#[tokio::test]
async fn the_refusals_are_those_of_the_reference() {
    let server = locked().await;
    let missing = server.get("/v1/sandboxes").await;
    assert_eq!(
        missing.json(),
        json!({"code": "MISSING_API_KEY", "message":
            "Authentication credentials are missing. Provide API key via OPEN-SANDBOX-API-KEY header."})
    );
    let wrong = server.raw("GET", "/v1/sandboxes", &[(HEADER, "wrong")], Body::empty()).await;
    assert_eq!(wrong.status, 401);
    assert_eq!(
        wrong.json(),
        json!({"code": "INVALID_API_KEY", "message":
            "Authentication credentials are invalid. Check your API key and try again."})
    );
    let twice = server.raw("GET", "/v1/sandboxes", &[(HEADER, KEY), (HEADER, KEY)], Body::empty()).await;
    assert_eq!(twice.refusal(), (401, "INVALID_API_KEY".into()));
}

#[tokio::test]
async fn the_key_is_asked_for_before_anything_else() {
    let server = locked().await;
    for (method, path) in [("GET", "/nosuch"), ("PUT", "/v1/sandboxes"), ("GET", "/v1/sandboxes?page=x")] {
        assert_eq!(server.send(method, path, None).await.status, 401, "{method} {path}");
    }
    let large = server.raw("POST", "/v1/sandboxes", &[], Body::from(vec![b'x'; 2 << 20])).await;
    assert_eq!(large.status, 401);
}

#[tokio::test]
async fn each_key_lets_in() {
    let server = locked().await;
    for key in [KEY, "another-key-of-thirty-two-bytes!"] {
        let body = Body::from(request(json!({})).to_string());
        assert_eq!(server.raw("POST", "/v1/sandboxes", &[(HEADER, key)], body).await.status, 202);
    }
}

#[tokio::test]
async fn web_pages_are_refused_where_there_is_no_key() {
    let server = Server::start().await;
    for header in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let body = Body::from(request(json!({})).to_string());
        let reply = server.raw("POST", "/v1/sandboxes", &[header], body).await;
        assert_eq!(reply.refusal(), (403, "SANDBOX::BROWSER_REFUSED".into()));
        server.assert_empty("a web page's request").await;
    }
    let locked = locked().await;
    let headers = [("origin", "http://a"), (HEADER, KEY)];
    assert_eq!(locked.raw("GET", "/v1/sandboxes", &headers, Body::empty()).await.status, 200);
}

#[tokio::test]
async fn a_request_keeps_its_id() {
    let server = locked().await;
    let id = async |path: &str, headers: &[(&str, &str)]| {
        let reply = server.raw("GET", path, headers, Body::empty()).await;
        reply.header("x-request-id").expect("an id").to_owned()
    };
    for path in ["/health", "/v1/sandboxes", "/nosuch"] {
        assert_eq!(id(path, &[("x-request-id", " rid1 ")]).await, "rid1", "{path}");
        let fresh = id(path, &[]).await;
        assert!(fresh.len() == 32 && fresh.bytes().all(|byte| byte.is_ascii_hexdigit()), "{fresh}");
        assert_ne!(fresh, id(path, &[]).await);
    }
    let long = "x".repeat(129);
    for bad in ["", "a b", long.as_str()] {
        assert_eq!(id("/health", &[("x-request-id", bad)]).await.len(), 32, "{bad}");
    }
    assert_eq!(id("/v1/sandboxes", &[("x-request-id", "kept"), (HEADER, KEY)]).await, "kept");
}

#[tokio::test]
async fn what_the_server_says_of_itself() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await.json(), json!({"status": "healthy"}));
    assert_eq!(server.get("/version").await.json(), json!({"version": "1.2.3", "network": "none"}));
    assert_eq!(server.send("HEAD", "/health", None).await.status, 200);
}

#[tokio::test]
async fn metrics_are_true() {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    server.created(json!({})).await;
    server.send("POST", &format!("/v1/sandboxes/{id}/pause"), None).await;
    server.post("/v1/sandboxes", json!({})).await;
    server.host.forget_image("nosuch");
    server.post("/v1/sandboxes", request(json!({"image": {"uri": "nosuch"}}))).await;
    let reply = server.get("/metrics").await;
    assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    let text = reply.text();
    for line in [
        "bivouac_sandboxes{state=\"Running\"} 1",
        "bivouac_sandboxes{state=\"Paused\"} 1",
        "bivouac_sandboxes{state=\"Failed\"} 0",
        "bivouac_sandbox_creates_total 3",
        "bivouac_sandbox_create_failures_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let start = text.lines().find_map(|line| line.strip_prefix("process_start_time_seconds ")).expect("a start");
    let age = chrono::Utc::now().timestamp() - start.parse::<i64>().expect("seconds");
    assert!((0..60).contains(&age), "{age}");
}

#[tokio::test]
async fn events_of_clients_are_taken() {
    let server = Server::start().await;
    let event = json!({"eventType": "sandbox.create", "createDurationMs": 42, "success": true, "sandboxId": "x", "image": null});
    let reply = server.post("/v1/metrics/events", event).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    for bad in [
        json!({"eventType": "x"}),
        json!({"eventType": "sandbox.create", "success": true}),
        json!({"eventType": "sandbox.create", "createDurationMs": -1, "success": true}),
        json!({"eventType": "sandbox.create", "createDurationMs": 1}),
        json!({"eventType": "sandbox.create", "createDurationMs": 1, "success": "yes"}),
        json!([]),
    ] {
        assert_eq!(server.post("/v1/metrics/events", bad.clone()).await.status, 400, "{bad}");
    }
    assert_eq!(server.post("/metrics/events", json!({})).await.status, 404);
}
