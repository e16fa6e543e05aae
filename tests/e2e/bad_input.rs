//! What nobody should send: refused with a clear message, and nothing is left behind.

use serde_json::{Value, json};

use crate::harness::{Client, Daemon, IMAGE, Response};

#[test]
fn wrong_requests_for_a_sandbox_are_refused() {
    let Some(daemon) = Daemon::start("wrong_requests_for_a_sandbox_are_refused") else { return };
    let before = daemon.settled();
    let good = daemon.request(&["true"]);
    let with = |key: &str, value: Value| {
        let mut request = good.clone();
        request[key] = value;
        request
    };
    for bad in [
        json!({}),
        json!([]),
        json!(null),
        json!("x"),
        with("image", json!(null)),
        with("image", json!({"uri": ""})),
        with("image", json!({"uri": 5})),
        with("image", json!({"uri": "../../etc"})),
        with("entrypoint", json!([])),
        with("entrypoint", json!("sh")),
        with("entrypoint", json!([1])),
        with("entrypoint", json!(["a\u{0}b"])),
        with("timeout", json!(0)),
        with("timeout", json!(-60)),
        with("timeout", json!(1.5)),
        with("timeout", json!("60")),
        with("timeout", json!(1e30)),
        with("resourceLimits", json!({"cpu": "abc"})),
        with("resourceLimits", json!({"cpu": "0"})),
        with("resourceLimits", json!({"memory": "-1"})),
        with("resourceLimits", json!({"memory": "99999999999Ti"})),
        with("resourceLimits", json!(5)),
        with("metadata", json!({"a b": "c"})),
        with("metadata", json!({"a": "c d"})),
        with("metadata", json!({"opensandbox.io/x": "y"})),
        with("env", json!({"A": "a\u{0}b"})),
        with("env", json!({"A=B": "c"})),
        with("env", json!({"A": 5})),
    ] {
        let answer = daemon.client.post("/v1/sandboxes", &bad);
        assert!((400..500).contains(&answer.status) && is_error(&answer), "{bad}: {answer}");
    }
    let mut missing = with("image", json!({"uri": "no/such:image"}));
    // Otherwise it is looked for in a registry.
    missing["extensions"] = json!({"bivouac.pull_policy": "never"});
    daemon.client.post("/v1/sandboxes", &missing).expect(400);
    assert_eq!(daemon.client.get("/v1/sandboxes").expect(200).json()["pagination"]["totalItems"], 0);
    daemon.check_left(&before);
}

#[test]
fn broken_json_is_refused() {
    let Some(daemon) = Daemon::start("broken_json_is_refused") else { return };
    let deep = "[".repeat(100_000);
    let nested = format!("{}1{}", "{\"a\":".repeat(1000), "}".repeat(1000));
    let huge = format!("{{\"image\": \"{}\"}}", "x".repeat(32 << 20));
    let good = daemon.request(&["true"]).to_string();
    for bad in [
        "{",
        "nul",
        "{\"image\": NaN}",
        "{\"timeout\": 1e400}",
        "{\"a\": \"\\ud800\"}",
        &deep,
        &nested,
        &huge,
        &format!("{good}{good}"),
    ] {
        let shown: String = bad.chars().take(40).collect();
        let answer = daemon.client.ask("POST", "/v1/sandboxes", bad.as_bytes());
        assert!([400, 413].contains(&answer.status) && is_error(&answer), "{shown}: {}", answer.status);
    }
    daemon.client.ask("POST", "/v1/sandboxes", b"{\"image\": \"\xff\xfe\"}").expect(400);
    daemon.client.get("/health").expect(200);
}

#[test]
fn wrong_paths_and_ids_are_unknown() {
    let Some(daemon) = Daemon::start("wrong_paths_and_ids_are_unknown") else { return };
    for id in ["x", "..", "%2e%2e", "%2f", "a%00b", "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11", &"x".repeat(4096)] {
        for (method, verb) in [("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"), ("GET", "/logs")] {
            let answer = daemon.client.ask(method, &format!("/v1/sandboxes/{id}{verb}"), b"");
            assert!([400, 404, 405].contains(&answer.status) && is_error(&answer), "{id}{verb}: {answer}");
        }
    }
    daemon.client.get("/v1/nothing").expect(404);
    daemon.client.ask("PUT", "/v1/sandboxes", b"").expect(405);
    for query in ["page=0", "pageSize=0", "pageSize=201", "page=x", "page=-1", "metadata=%zz", "metadata=novalue"] {
        let answer = daemon.client.get(&format!("/v1/sandboxes?{query}"));
        assert!(answer.status == 400 && is_error(&answer), "{query}: {answer}");
    }
}

#[test]
fn bytes_that_are_no_http_are_refused() {
    let Some(daemon) = Daemon::start("bytes_that_are_no_http_are_refused") else { return };
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    let smuggled = "POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    for bad in [
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET /\u{0}x HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        smuggled,
        &long,
        &many,
    ] {
        let shown: String = bad.chars().take(60).collect();
        let answers = statuses(&daemon.client, bad.as_bytes());
        assert!(answers.iter().all(|status| (400..500).contains(status)), "{shown:?}: {answers:?}");
        assert!(answers.len() <= 1, "{shown:?} was answered more than once: {answers:?}");
    }
    daemon.client.get("/health").expect(200);
}

/// The status of every answer that comes back before the daemon closes the connection.
fn statuses(client: &Client, bytes: &[u8]) -> Vec<u16> {
    let answer = client.send(bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).collect()
}

#[test]
fn wrong_images_are_refused_whole() {
    let Some(daemon) = Daemon::start("wrong_images_are_refused_whole") else { return };
    let before = daemon.settled();
    let import = |name: &str, body: &[u8]| daemon.client.ask("POST", &format!("/v1/images/import?name={name}"), body);
    for (name, body) in [
        ("x", b"no archive at all".as_slice()),
        ("x", b"\x1f\x8b\x08\x00truncated"),
        ("x", b"{}"),
        ("..%2f..%2fetc", b"x"),
        ("UPPER%20case", b"x"),
    ] {
        let answer = import(name, body);
        assert!((400..500).contains(&answer.status) && is_error(&answer), "{name}: {answer}");
    }
    let escaping = tar_with("../../escaped", b"x");
    let answer = import("escape", &escaping);
    assert!(answer.status < 500, "{answer}");
    assert!(!daemon.state_dir().join("escaped").exists() && !daemon.path("escaped").exists());
    daemon.client.delete("/v1/images/no/such:image").expect(404);
    let sleeper = daemon.sleeper();
    daemon.client.delete(&format!("/v1/images/{IMAGE}")).expect(409);
    sleeper.delete();
    sleeper.until_unknown();
    drop(daemon.client.delete("/v1/images/escape:latest"));
    daemon.check_left(&before);
}

/// A tar with one file of that name, written by hand: the library refuses such names.
fn tar_with(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(512 * 4, 0);
    bytes
}

fn is_error(answer: &Response) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    ["code", "message"].iter().all(|key| body[key].as_str().is_some_and(|text| !text.is_empty()))
}
