//! The life of sandboxes over the API, as the reference's clients see it.

mod api_support;

use std::time::Duration;

use api_support::{Server, id, request};
use bivouac::api::Auth;
use bivouac::sandbox::LifecycleConfig;
use bivouac::sandbox::fake::Step;
use chrono::{DateTime, Utc};
use serde_json::json;

const NOBODY: &str = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";

/// The pretended host has a clock of its own; times are counted from a sandbox's.
async fn expiry(server: &Server, id: &str, seconds: i64) -> String {
    let body = server.get(&format!("/v1/sandboxes/{id}")).await.json();
    let now: DateTime<Utc> = body["createdAt"].as_str().expect("a time").parse().expect("a time");
    (now + chrono::Duration::seconds(seconds)).to_rfc3339()
}

#[tokio::test]
async fn a_create_answers_with_a_running_sandbox() {
    let server = Server::start().await;
    let reply = server
        .post(
            "/v1/sandboxes",
            request(json!({
                "timeout": 600, "metadata": {"tag": "x"}, "extensions": {"opensandbox.extensions.a": "1", "b": "2"},
                "env": {"A": "1", "B": null}, "secureAccess": false, "volumes": null,
            })),
        )
        .await;
    assert_eq!(reply.status, 202);
    let body = reply.json();
    let id = body["id"].as_str().expect("an id");
    assert_eq!(reply.header("location"), Some(format!("/v1/sandboxes/{id}").as_str()));
    assert_eq!((&body["status"]["state"], &body["status"]["reason"]), (&json!("Running"), &json!("started")));
    assert_eq!(body["entrypoint"], json!(["tail", "-f", "/dev/null"]));
    assert_eq!(
        (&body["metadata"], &body["extensions"]),
        (&json!({"tag": "x"}), &json!({"opensandbox.extensions.a": "1"}))
    );
    assert!(body.get("image").is_none() && body.get("platform").is_none(), "{body}");
    assert!(body["expiresAt"].is_string());

    let whole = server.get(&format!("/sandboxes/{id}")).await.json();
    assert_eq!(whole["image"], json!({"uri": "python:3.11"}));
    assert_eq!((&whole["createdAt"], &whole["expiresAt"]), (&body["createdAt"], &body["expiresAt"]));
}

#[tokio::test]
async fn what_was_not_asked_for_is_left_out() {
    let server = Server::start().await;
    let id = server.created(json!({"timeout": null, "metadata": {}})).await;
    let body = server.get(&format!("/v1/sandboxes/{id}")).await.json();
    for absent in ["expiresAt", "metadata", "extensions", "platform", "snapshotId", "allocation"] {
        assert!(body.get(absent).is_none(), "{absent} in {body}");
    }
}

#[tokio::test]
async fn the_platform_is_echoed_in_lower_case() {
    let server = Server::start().await;
    let arch = if cfg!(target_arch = "aarch64") { "ARM64" } else { "AMD64" };
    let id = server.created(json!({"platform": {"os": "Linux", "arch": arch}})).await;
    let body = server.get(&format!("/v1/sandboxes/{id}")).await.json();
    assert_eq!(body["platform"], json!({"os": "linux", "arch": arch.to_lowercase()}));
}

#[tokio::test]
async fn an_entrypoint_that_does_not_start_leaves_a_failed_sandbox_that_says_why() {
    let server = Server::start().await;
    server.host.fail(Step::Launch, 1);
    let reply = server.post("/v1/sandboxes", request(json!({}))).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["status"]["state"]), (202, &json!("Failed")));
    assert!(body["status"]["message"].as_str().is_some_and(|message| message.contains("EIO")), "{body}");
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("bivouac_sandbox_create_failures_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn pause_and_resume() {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    let (pause, resume) = (format!("/v1/sandboxes/{id}/pause"), format!("/v1/sandboxes/{id}/resume"));
    let state = async || server.get(&format!("/v1/sandboxes/{id}")).await.json()["status"]["state"].clone();

    let early = server.send("POST", &resume, None).await;
    assert_eq!(early.refusal(), (409, "DOCKER::SANDBOX_NOT_PAUSED".into()));
    assert!(early.message().contains("Running"), "{}", early.message());
    assert_eq!(server.send("POST", &pause, None).await.status, 202);
    assert_eq!(state().await, "Paused");
    let again = server.send("POST", &pause, None).await;
    assert_eq!(again.refusal(), (409, "DOCKER::SANDBOX_NOT_RUNNING".into()));
    assert!(again.message().contains("Paused"), "{}", again.message());
    let reply = server.send("POST", &resume, None).await;
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    assert_eq!(state().await, "Running");

    server.host.fail(Step::Freeze, 1);
    assert_eq!(server.send("POST", &pause, None).await.refusal(), (500, "DOCKER::SANDBOX_PAUSE_FAILED".into()));
    assert_eq!(state().await, "Running");
}

#[tokio::test]
async fn a_deleted_sandbox_can_be_read_and_nothing_else() {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    let path = format!("/v1/sandboxes/{id}");
    let reply = server.send("DELETE", &path, None).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(
        server.state.sandboxes.wait(&api_support::id(&id)).await.map(|s| s.status.phase.as_str()),
        Some("Terminated")
    );
    let body = server.get(&path).await.json();
    assert_eq!((&body["status"]["state"], &body["status"]["reason"]), (&json!("Terminated"), &json!("user_delete")));
    let gone = (404, "DOCKER::SANDBOX_NOT_FOUND".to_owned());
    assert_eq!(server.send("DELETE", &path, None).await.refusal(), gone);
    for verb in ["pause", "resume"] {
        assert_eq!(server.send("POST", &format!("{path}/{verb}"), None).await.refusal(), gone, "{verb}");
    }
    let renew = json!({"expiresAt": "2031-01-01T00:00:00Z"});
    assert_eq!(server.post(&format!("{path}/renew-expiration"), renew).await.refusal(), gone);
    assert_eq!(server.send("PATCH", &format!("{path}/metadata"), Some(json!({"a": "b"}))).await.refusal(), gone);
    assert_eq!(server.post(&format!("{path}/signal"), json!({"signal": 15})).await.refusal(), gone);
    assert_eq!(server.get("/v1/sandboxes").await.json()["items"], json!([]));
    assert_eq!(server.get("/v1/sandboxes?state=terminated").await.json()["pagination"]["totalItems"], 1);
}

#[tokio::test]
async fn renewing() {
    let server = Server::start().await;
    let id = server.created(json!({"timeout": 600})).await;
    let path = format!("/v1/sandboxes/{id}/renew-expiration");
    let later = expiry(&server, &id, 1200).await;
    let reply = server.post(&path, json!({"expiresAt": later})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = reply.json();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "only expiresAt: {body}");
    assert_eq!(server.get(&format!("/v1/sandboxes/{id}")).await.json()["expiresAt"], body["expiresAt"]);

    let past = server.post(&path, json!({"expiresAt": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(past.refusal(), (400, "DOCKER::INVALID_EXPIRATION".into()));
    assert_eq!(past.message(), "New expiration time must be in the future.");
    let earlier = expiry(&server, &id, 900).await;
    let shorter = server.post(&path, json!({"expiresAt": earlier})).await;
    assert_eq!(shorter.refusal(), (400, "DOCKER::EXPIRATION_NOT_EXTENDED".into()));
    assert!(shorter.message().contains(body["expiresAt"].as_str().expect("a time")), "{}", shorter.message());
    // Naive is UTC, as the reference reads it.
    let reply = server.post(&path, json!({"expiresAt": "2031-01-01T00:00:00"})).await;
    assert_eq!(reply.json(), json!({"expiresAt": "2031-01-01T00:00:00Z"}));

    let forever = server.created(json!({})).await;
    let path = format!("/v1/sandboxes/{forever}/renew-expiration");
    let reply = server.post(&path, json!({"expiresAt": "2031-01-01T00:00:00Z"})).await;
    assert_eq!(reply.refusal(), (409, "DOCKER::INVALID_EXPIRATION".into()));
}

#[tokio::test]
async fn a_shorter_expiration_where_it_is_allowed() {
    let config = LifecycleConfig { allow_shorter_expiration: true, ..LifecycleConfig::default() };
    let server = Server::with(config, Auth::None).await;
    let id = server.created(json!({"timeout": 600})).await;
    let earlier = expiry(&server, &id, 300).await;
    let path = format!("/v1/sandboxes/{id}/renew-expiration");
    assert_eq!(server.post(&path, json!({"expiresAt": earlier})).await.status, 200);
}

#[tokio::test]
async fn patching_labels() {
    let server = Server::start().await;
    let id = server.created(json!({"metadata": {"tag": "x", "keep": "1"}})).await;
    let path = format!("/v1/sandboxes/{id}/metadata");
    let patch = async |body| server.send("PATCH", &path, Some(body)).await;
    let reply = patch(json!({"a": "b", "tag": null, "none": null})).await;
    assert_eq!((reply.status, &reply.json()["metadata"]), (200, &json!({"a": "b", "keep": "1"})));
    assert_eq!(reply.json()["image"], json!({"uri": "python:3.11"}), "the whole sandbox");
    assert_eq!(patch(json!({})).await.json()["metadata"], json!({"a": "b", "keep": "1"}));

    let reserved = patch(json!({"opensandbox.io/x": "1"})).await;
    assert_eq!(reserved.refusal(), (400, "INVALID_METADATA_LABEL".into()));
    assert_eq!(reserved.message(), "Metadata key 'opensandbox.io/x' is reserved (opensandbox.io/ prefix).");
    assert_eq!(patch(json!({"a b": "1"})).await.refusal(), (400, "SANDBOX::INVALID_METADATA_LABEL".into()));
    for wrong in [json!({"a": 1}), json!({"a": {"b": "c"}}), json!([]), json!("x"), json!(null)] {
        assert_eq!(patch(wrong.clone()).await.refusal(), (400, "SANDBOX::INVALID_PARAMETER".into()), "{wrong}");
    }
    let removed = patch(json!({"a": null, "keep": null})).await.json();
    assert!(removed.get("metadata").is_none(), "{removed}");
}

#[tokio::test]
async fn an_entrypoint_that_ends_shows_its_exit_code() {
    let server = Server::start().await;
    let sandbox = server.created(json!({})).await;
    server.host.exit(&id(&sandbox), 3);
    let body = server.get(&format!("/v1/sandboxes/{sandbox}/wait")).await.json();
    let status = &body["status"];
    assert_eq!((&status["state"], &status["reason"]), (&json!("Failed"), &json!("entrypoint_exited")));
    assert_eq!(status["exitCode"], 3);
    let ended = server.send("POST", &format!("/v1/sandboxes/{sandbox}/pause"), None).await;
    assert_eq!(ended.refusal(), (409, "DOCKER::SANDBOX_NOT_RUNNING".into()));
    assert_eq!(server.send("DELETE", &format!("/v1/sandboxes/{sandbox}"), None).await.status, 204);
}

#[tokio::test]
async fn waiting_has_a_bound_of_its_own() {
    let server = Server::start().await;
    let id = server.created(json!({})).await;
    let body = server.get(&format!("/v1/sandboxes/{id}/wait?timeout=0")).await.json();
    assert_eq!(body["status"]["state"], "Running");
    assert_eq!(server.get(&format!("/v1/sandboxes/{NOBODY}/wait")).await.status, 404);
    assert_eq!(server.get(&format!("/v1/sandboxes/{id}/wait?timeout=x")).await.status, 400);
}

#[tokio::test]
async fn signals_reach_the_entrypoint() {
    let server = Server::start().await;
    let sandbox = server.created(json!({})).await;
    let path = format!("/v1/sandboxes/{sandbox}/signal");
    assert_eq!(server.post(&path, json!({"signal": "SIGHUP"})).await.status, 204);
    assert_eq!(server.post(&path, json!({"signal": 10})).await.status, 204);
    assert_eq!(server.host.signals(&id(&sandbox)), [1, 10]);
    assert_eq!(server.post(&path, json!({"signal": "SIGNOT"})).await.status, 400);
    assert_eq!(server.post(&path, json!({})).await.status, 400);
}

#[tokio::test]
async fn nobody_is_not_found_by_any_route() {
    let server = Server::start().await;
    let long = "x".repeat(4000);
    for nobody in [NOBODY, "nope", "..%2f..%2fetc", "%00", long.as_str()] {
        let path = format!("/v1/sandboxes/{nobody}");
        let gone = (404, "DOCKER::SANDBOX_NOT_FOUND".to_owned());
        for tail in [
            "",
            "/logs",
            "/wait",
            "/endpoints/80",
            "/proxy/80/x",
            "/networkpolicy",
            "/diagnostics/logs?scope=all",
            "/diagnostics/events",
            "/diagnostics/inspect",
        ] {
            assert_eq!(server.get(&format!("{path}{tail}")).await.refusal(), gone, "{tail}");
        }
        assert_eq!(server.send("DELETE", &path, None).await.refusal(), gone);
        for tail in ["/pause", "/resume", "/snapshots"] {
            assert_eq!(server.send("POST", &format!("{path}{tail}"), None).await.refusal(), gone, "{tail}");
        }
        let renew = json!({"expiresAt": "2031-01-01T00:00:00Z"});
        assert_eq!(server.post(&format!("{path}/renew-expiration"), renew).await.refusal(), gone);
        assert_eq!(server.send("PATCH", &format!("{path}/metadata"), Some(json!({}))).await.refusal(), gone);
        assert_eq!(server.post(&format!("{path}/signal"), json!({"signal": 9})).await.refusal(), gone);
    }
    assert_eq!(server.get("/v1/sandboxes/nope").await.message(), "Sandbox nope not found.");
    assert_eq!(server.get("/v1/sandboxes/%ff%fe").await.status, 400);
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(server.created(json!({"metadata": {"n": number.to_string(), "tag": "x"}})).await);
    }
    server.send("POST", &format!("/v1/sandboxes/{}/pause", ids[0]), None).await;
    let all = server.get("/v1/sandboxes").await.json();
    assert_eq!(
        all["pagination"],
        json!({"page": 1, "pageSize": 20, "totalItems": 5, "totalPages": 1, "hasNextPage": false})
    );
    let listed: Vec<_> = all["items"].as_array().expect("items").iter().map(|item| item["id"].clone()).collect();
    assert_eq!(listed.len(), 5);
    let page = server.get("/sandboxes?page=2&pageSize=2").await.json();
    assert_eq!(
        page["pagination"],
        json!({"page": 2, "pageSize": 2, "totalItems": 5, "totalPages": 3, "hasNextPage": true})
    );
    assert_eq!((&page["items"][0]["id"], &page["items"][1]["id"]), (&listed[2], &listed[3]));
    assert_eq!(server.get("/sandboxes?page=9").await.json()["items"], json!([]));

    let total = async |query: &str| {
        server.get(&format!("/v1/sandboxes?{query}")).await.json()["pagination"]["totalItems"].clone()
    };
    assert_eq!(total("state=paused").await, 1);
    assert_eq!(total("state=PAUSED&state=Running").await, 5);
    assert_eq!(total("state=running&metadata=tag%3Dx").await, 4);
    assert_eq!(total("metadata=tag%3Dx%26n%3D3").await, 1);
    assert_eq!(total("metadata=n%3D%2533").await, 1, "values are decoded twice");
    assert_eq!(total("metadata=tag%3Dy").await, 0);
    assert_eq!(total("metadata=").await, 5);
    assert_eq!(total("state=Allocated").await, 0, "a state that we do not know is nobody's");
    assert_eq!(total("state=Allocated&state=Paused").await, 1);
    let empty = server.get("/v1/sandboxes?state=Failed").await.json();
    assert_eq!(empty["pagination"]["totalPages"], 0);
}

#[tokio::test]
async fn an_expired_sandbox_ends_by_itself() {
    let config = LifecycleConfig { min_timeout: Duration::from_secs(1), ..LifecycleConfig::default() };
    let server = Server::with(config, Auth::None).await;
    let sandbox = server.created(json!({"timeout": 1})).await;
    tokio::time::pause();
    let body = server.get(&format!("/v1/sandboxes/{sandbox}/wait")).await.json();
    assert_eq!((&body["status"]["state"], &body["status"]["reason"]), (&json!("Terminated"), &json!("ttl_expiry")));
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let server = Server::start().await;
    server.state.sandboxes.shutdown().await;
    let reply = server.post("/v1/sandboxes", request(json!({}))).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("1"));
}
