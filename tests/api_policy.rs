//! Network policies: the egress API at its port, and the same in the lifecycle API.

mod api_support;

use api_support::{Reply, Server, id};
use axum::body::Body;
use bivouac::api::Auth;
use bivouac::model::{NetworkMode, NetworkOffer, NetworkPolicy};
use bivouac::sandbox::LifecycleConfig;
use bivouac::sandbox::fake::Step;
use serde_json::{Value, json};

const PLAIN: &str = "text/plain; charset=utf-8";

async fn server() -> Server {
    let network = NetworkOffer { mode: NetworkMode::Bridge, why: "it can".to_owned(), allows_host: true };
    let config = LifecycleConfig { network, ..LifecycleConfig::default() };
    Server::with(config, Auth::None).await
}

/// Both ways to the policy of a sandbox.
fn ways(sandbox: &str) -> [String; 2] {
    [format!("/v1/sandboxes/{sandbox}/proxy/18080/policy"), format!("/sandboxes/{sandbox}/networkpolicy")]
}

fn told(reply: &Reply) -> (u16, Value, Value) {
    let body = reply.json();
    assert_eq!((&body["status"], &body["enforcementMode"]), (&json!("ok"), &json!("dns+nft")));
    (reply.status, body["mode"].clone(), body["policy"].clone())
}

fn allow(target: &str) -> Value {
    json!({"action": "allow", "target": target})
}

#[tokio::test]
async fn a_policy_is_made_looked_at_and_changed() {
    let server = server().await;
    let made = json!({"defaultAction": "deny", "egress": [allow("Example.com")]});
    let sandbox = server.created(json!({ "networkPolicy": made })).await;
    let on_host = || server.host.policy(&id(&sandbox)).map(|policy| policy.rules.len());
    assert_eq!(on_host(), Some(1), "before the entrypoint ran");
    for way in ways(&sandbox) {
        let policy = json!({"defaultAction": "deny", "egress": [allow("example.com")]});
        assert_eq!(told(&server.get(&way).await), (200, json!("enforcing"), policy));
        let deny = json!({"action": "deny", "target": "a.example.org"});
        let patched =
            server.send("PATCH", &way, Some(json!([deny, allow("a.example.org"), allow("*.example.org")]))).await;
        let policy = json!({"defaultAction": "deny", "egress": [deny, allow("*.example.org"), allow("example.com")]});
        assert_eq!(told(&patched), (200, json!("enforcing"), policy));
        assert_eq!(on_host(), Some(3));
        let removed = server.send("DELETE", &way, Some(json!(["A.example.org", "*.example.org", "nosuch"]))).await;
        assert_eq!(told(&removed).2["egress"], json!([allow("example.com")]));
        assert_eq!(removed.json().get("reason"), None);
        let removed = server.send("DELETE", &way, Some(json!(["nosuch"]))).await;
        assert_eq!(removed.json()["reason"], "no matching targets found");
    }
    for way in ways(&sandbox) {
        let open = server.send("PUT", &way, Some(json!({"defaultAction": "allow"}))).await;
        assert_eq!(told(&open), (200, json!("allow_all"), json!({"defaultAction": "allow", "egress": []})));
        assert_eq!(server.host.policy(&id(&sandbox)), None);
        for body in ["", "{}", "null", " \n"] {
            let closed = server.raw("PUT", &way, &[], Body::from(body)).await;
            assert_eq!(
                told(&closed),
                (200, json!("deny_all"), json!({"defaultAction": "deny", "egress": []})),
                "{body:?}"
            );
            let reason = body.trim().is_empty().then(|| json!("policy reset to default deny-all"));
            assert_eq!(closed.json().get("reason"), reason.as_ref());
            assert_eq!(server.host.policy(&id(&sandbox)), Some(NetworkPolicy::closed()));
        }
    }
    let posted = server.post(&ways(&sandbox)[0], json!({"egress": [allow("10.1.2.3/8")]})).await;
    assert_eq!(told(&posted).2["egress"], json!([allow("10.0.0.0/8")]));
    // It is part of the sandbox and not of what shows the sandbox.
    assert_eq!(server.get(&format!("/v1/sandboxes/{sandbox}")).await.json().get("networkPolicy"), None);
    let health = server.get(&format!("/v1/sandboxes/{sandbox}/proxy/18080/healthz")).await;
    assert_eq!((health.status, health.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn a_sandbox_without_a_policy_has_an_open_one() {
    let server = server().await;
    let sandbox = server.created(json!({})).await;
    let [way, _] = ways(&sandbox);
    let open = json!({"defaultAction": "allow", "egress": []});
    assert_eq!(told(&server.get(&way).await), (200, json!("allow_all"), open));
    let deny = json!({"action": "deny", "target": "example.com"});
    let patched = server.send("PATCH", &way, Some(json!([deny]))).await;
    assert_eq!(told(&patched), (200, json!("enforcing"), json!({"defaultAction": "allow", "egress": [deny]})));
}

#[tokio::test]
async fn a_paused_sandbox_has_its_policy_changed_and_an_ended_one_not() {
    let server = server().await;
    let sandbox = server.created(json!({})).await;
    let [egress, control] = ways(&sandbox);
    assert_eq!(server.send("POST", &format!("/v1/sandboxes/{sandbox}/pause"), None).await.status, 202);
    assert_eq!(server.send("PATCH", &control, Some(json!([allow("a.com")]))).await.status, 200);
    server.host.exit(&id(&sandbox), 0);
    server.state.sandboxes.wait(&id(&sandbox)).await;
    let late = server.send("PATCH", &control, Some(json!([allow("a.com")]))).await;
    assert_eq!(late.refusal(), (409, "DOCKER::SANDBOX_NOT_RUNNING".into()));
    let late = server.send("PATCH", &egress, Some(json!([allow("a.com")]))).await;
    assert_eq!((late.status, late.header("content-type")), (409, Some(PLAIN)));
    assert!(late.text().contains("Terminated"), "{}", late.text());
}

#[tokio::test]
async fn without_a_network_there_is_nothing_to_allow() {
    let server = server().await;
    let alone = server.created(json!({"extensions": {"bivouac.network": "none"}})).await;
    let other = Server::start().await;
    let lonely = other.created(json!({})).await;
    for (server, sandbox) in [(&server, &alone), (&other, &lonely)] {
        let [egress, control] = ways(sandbox);
        let shown = server.get(&egress).await.json();
        assert_eq!((&shown["mode"], &shown["enforcementMode"]), (&json!("deny_all"), &json!("none")));
        let refused = server.send("PATCH", &control, Some(json!([allow("a.com")]))).await;
        assert_eq!(refused.refusal(), (409, "SANDBOX::NO_NETWORK".into()));
        assert_eq!(server.send("PATCH", &egress, Some(json!([allow("a.com")]))).await.status, 409);
    }
    let policy = json!({"networkPolicy": {"defaultAction": "deny"}});
    let refused = other.post("/v1/sandboxes", api_support::request(policy)).await;
    assert_eq!(refused.refusal(), (400, "SANDBOX::INVALID_PARAMETER".into()));
    let asked = json!({"extensions": {"bivouac.network": "bridge"}});
    let refused = other.post("/v1/sandboxes", api_support::request(asked)).await;
    assert_eq!(refused.refusal(), (400, "SANDBOX::INVALID_PARAMETER".into()));
    let message = refused.json()["message"].to_string();
    assert!(message.contains("have no network: network.mode of its configuration is"), "{message}");
    assert_eq!(other.get("/version").await.json()["network"], "none");
    assert_eq!(server.get("/version").await.json()["network"], "bridge");
    let listed = other.get("/v1/sandboxes").await.json();
    assert_eq!(listed["pagination"]["totalItems"], 1, "nothing was made of what was refused");
}

#[tokio::test]
async fn the_network_of_the_host_has_no_policy_and_no_ports() {
    let server = server().await;
    let sandbox = server.created(json!({"extensions": {"bivouac.network": "host"}})).await;
    let [egress, control] = ways(&sandbox);
    let shown = server.get(&egress).await.json();
    assert_eq!((&shown["mode"], &shown["enforcementMode"]), (&json!("allow_all"), &json!("none")));
    let refused = server.send("PATCH", &control, Some(json!([allow("a.com")]))).await;
    assert_eq!(refused.refusal(), (409, "SANDBOX::HOST_NETWORK".into()));
    let refused = server.get(&format!("/v1/sandboxes/{sandbox}/proxy/8000/")).await;
    assert_eq!(refused.refusal(), (409, "SANDBOX::HOST_NETWORK".into()));
    assert!(refused.json()["message"].to_string().contains("port 8000 is the host's"), "{refused:?}");
    assert_eq!(server.get(&format!("/v1/sandboxes/{sandbox}/proxy/44772/ping")).await.status, 200);
    let asked = json!({"extensions": {"bivouac.network": "host"}});
    let refused = Server::start().await.post("/v1/sandboxes", api_support::request(asked)).await;
    assert_eq!(refused.refusal(), (400, "SANDBOX::INVALID_PARAMETER".into()));
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_words_of_each_api() {
    let server = server().await;
    let sandbox = server.created(json!({})).await;
    let [egress, control] = ways(&sandbox);
    for (method, body, message) in [
        ("PATCH", json!([]), "must be a JSON array with something in it"),
        ("PATCH", json!([{"action": "allow", "target": "a b"}]), "rules[0].target \"a b\" is no domain"),
        ("DELETE", json!({}), "must be a JSON array with something in it"),
        ("DELETE", json!([1]), "targets[0] must be a string"),
        ("PUT", json!({"defaultAction": "no"}), "defaultAction must be allow or deny"),
        ("PUT", json!([]), "must be a JSON object"),
    ] {
        let told = server.send(method, &egress, Some(body.clone())).await;
        assert_eq!((told.status, told.header("content-type")), (400, Some(PLAIN)), "{method} {body}");
        assert!(told.text().contains(message), "{method} {body}: {}", told.text());
        let told = server.send(method, &control, Some(body.clone())).await;
        assert_eq!(told.refusal(), (400, "SANDBOX::INVALID_PARAMETER".into()), "{method} {body}");
        assert!(told.message().contains(message), "{method} {body}: {}", told.message());
    }
    let many: Vec<Value> = (0..4097).map(|at| allow(&format!("h{at}.com"))).collect();
    for (method, body) in [("PATCH", json!(many)), ("PUT", json!({ "egress": many }))] {
        assert_eq!(server.send(method, &egress, Some(body.clone())).await.status, 413);
        assert_eq!(
            server.send(method, &control, Some(body)).await.refusal(),
            (413, "SANDBOX::POLICY_TOO_LARGE".into())
        );
    }
    assert_eq!(server.raw("PATCH", &egress, &[], Body::from("{")).await.status, 400);
    assert_eq!(server.raw("PATCH", &egress, &[], Body::empty()).await.status, 400);
    let vault = server.get(&format!("/v1/sandboxes/{sandbox}/proxy/18080/credential-vault")).await;
    assert_eq!((vault.status, vault.header("content-type")), (501, Some(PLAIN)));
    let nobody = "/v1/sandboxes/0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11/proxy/18080/policy";
    assert_eq!((server.get(nobody).await.status, server.get(nobody).await.header("content-type")), (404, Some(PLAIN)));
    assert_eq!(server.get(&format!("/v1/sandboxes/{sandbox}/proxy/18080/nosuch")).await.status, 404);
}

#[tokio::test]
async fn what_fails_on_the_host_is_recorded_and_said() {
    let server = server().await;
    let sandbox = server.created(json!({})).await;
    let [egress, control] = ways(&sandbox);
    server.host.fail(Step::SetPolicy, 1);
    let failed = server.send("PATCH", &control, Some(json!([allow("a.com")]))).await;
    assert_eq!(failed.refusal(), (500, "SANDBOX::POLICY_FAILED".into()));
    assert_eq!(server.get(&egress).await.json()["policy"]["egress"], json!([allow("a.com")]));
    assert_eq!(server.send("PATCH", &egress, Some(json!([allow("b.com")]))).await.status, 200);
    assert_eq!(server.host.policy(&id(&sandbox)).map(|policy| policy.rules.len()), Some(2));
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_kept() {
    let server = server().await;
    let sandbox = server.created(json!({})).await;
    let [_, control] = ways(&sandbox);
    let changes = (0..20).map(|at| {
        let (server, control) = (&server, &control);
        async move { server.send("PATCH", control, Some(json!([allow(&format!("h{at}.com"))]))).await.status }
    });
    assert_eq!(futures_util::future::join_all(changes).await, [200; 20]);
    assert_eq!(server.host.policy(&id(&sandbox)).map(|policy| policy.rules.len()), Some(20));
    assert_eq!(server.get(&control).await.json()["policy"]["egress"].as_array().map(Vec::len), Some(20));
}
