//! Where the ports of a sandbox are said to be, and who is let in there.

mod api_support;

use std::sync::Arc;

use api_support::{Reply, Server, id, schema};
use axum::body::Body;
use axum::http::Request;
use bivouac::api::access::{Access, Secret};
use bivouac::api::auth::ApiKey;
use bivouac::api::{Auth, router};
use bivouac::sandbox::LifecycleConfig;
use serde_json::json;
use tower::ServiceExt;

const KEY: &str = "a-key-of-thirty-two-bytes-or-so-";
const HEADER: &str = "OPEN-SANDBOX-API-KEY";
const NOBODY: &str = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";

async fn locked() -> Server {
    Server::with(LifecycleConfig::default(), Auth::Keys(vec![ApiKey::parse(KEY).expect("a key")])).await
}

impl Server {
    async fn keyed(&self, method: &str, path: &str, body: Body) -> Reply {
        self.raw(method, path, &[(HEADER, KEY)], body).await
    }

    async fn made(&self) -> String {
        let reply = self.keyed("POST", "/v1/sandboxes", Body::from(api_support::request(json!({})).to_string())).await;
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The path of the endpoint and its headers.
    async fn endpoint(&self, sandbox: &str, port: &str) -> (String, Vec<(String, String)>) {
        let reply = self.keyed("GET", &format!("/v1/sandboxes/{sandbox}/endpoints/{port}"), Body::empty()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let json = reply.json();
        let headers = json["headers"].as_object().into_iter().flatten();
        let headers = headers.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())).collect();
        let address = json["endpoint"].as_str().expect("an address");
        (address.strip_prefix("localhost").expect("our host").to_owned(), headers)
    }

    /// Without the body, which need not have an end.
    async fn status(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::empty()).expect("a request");
        self.router.clone().oneshot(request).await.expect("infallible").status().as_u16()
    }
}

fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn an_endpoint_is_this_server_and_ends_in_the_port() {
    let server = Server::start().await;
    let sandbox = server.created(json!({})).await;
    for (prefix, host, port, header) in [
        ("/v1", "sandboxes.example:8080", "44772", "X-EXECD-ACCESS-TOKEN"),
        ("/v1", "[::1]:80", "18080", "OPENSANDBOX-EGRESS-AUTH"),
        ("", "localhost", "8080", "OpenSandbox-Secure-Access"),
        ("", "localhost", "44771", "OpenSandbox-Secure-Access"),
    ] {
        for query in ["", "?use_server_proxy=false", "?use_server_proxy=true"] {
            let path = format!("{prefix}/sandboxes/{sandbox}/endpoints/{port}{query}");
            let reply = server.raw("GET", &path, &[("host", host)], Body::empty()).await;
            let address = format!("{host}{prefix}/sandboxes/{sandbox}/proxy/{port}");
            assert_eq!((reply.status, reply.json()["endpoint"].as_str()), (200, Some(address.as_str())));
            let headers = reply.json()["headers"].as_object().expect("headers").clone();
            assert_eq!(headers.keys().collect::<Vec<_>>(), [header]);
            assert!(headers[header].as_str().is_some_and(|token| token.len() >= 32), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn a_public_host_goes_before_what_the_caller_says() {
    let server = Server::start().await;
    let sandbox = server.created(json!({})).await;
    let mut state = server.state.clone();
    let mut access = Access::new(Secret::random());
    access.public_host = Some("example.com/bivouac".parse().expect("a host"));
    state.access = Arc::new(access);
    let server = Server { router: router(state), ..server };
    let reply = server.get(&format!("/v1/sandboxes/{sandbox}/endpoints/80")).await;
    assert_eq!(reply.json()["endpoint"], format!("example.com/bivouac/v1/sandboxes/{sandbox}/proxy/80"));
}

#[tokio::test]
async fn bad_requests_for_an_endpoint_are_refused() {
    let server = Server::start().await;
    let sandbox = server.created(json!({})).await;
    let refusal = async |tail: &str, headers: &[(&str, &str)]| {
        let path = format!("/v1/sandboxes/{sandbox}/endpoints/{tail}");
        server.raw("GET", &path, headers, Body::empty()).await.refusal()
    };
    for port in ["0", "65536", "-1", "99999999999999999999"] {
        assert_eq!(refusal(port, &[]).await, (400, "DOCKER::INVALID_PORT".into()), "{port}");
    }
    let parameter = (400, "SANDBOX::INVALID_PARAMETER".to_owned());
    for tail in [
        "http",
        "80?use_server_proxy=maybe",
        "80?expires=",
        "80?expires=0",
        "80?expires=tomorrow",
        "80?expires=-1",
        "80?expires=0123",
        "80?expires=1700000000",
        "80?expires=18446744073709551616",
        "80?expires=4102444800&use_server_proxy=true",
    ] {
        assert_eq!(refusal(tail, &[]).await, parameter, "{tail}");
    }
    for host in ["a b", "http://a", "u@a", "a/b", ""] {
        assert_eq!(refusal("80", &[("host", host)]).await, parameter, "{host}");
    }
    assert_eq!(refusal("80", &[("host", "a"), ("host", "b")]).await, parameter);
    let gone = (404, "DOCKER::SANDBOX_NOT_FOUND".to_owned());
    assert_eq!(server.get(&format!("/v1/sandboxes/{NOBODY}/endpoints/80")).await.refusal(), gone);
    assert_eq!(server.send("DELETE", &format!("/v1/sandboxes/{sandbox}"), None).await.status, 204);
    assert_eq!(refusal("80", &[]).await, gone);
}

#[tokio::test]
async fn the_exec_api_opens_to_the_key_and_to_its_own_token() {
    let server = locked().await;
    let (one, other) = (server.made().await, server.made().await);
    let (path, headers) = server.endpoint(&one, "44772").await;
    let (_, others) = server.endpoint(&other, "44772").await;
    let (_, of_port) = server.endpoint(&one, "80").await;
    let token = borrowed(&headers);
    for path in [path.clone(), path.replacen("/v1", "", 1)] {
        let ping = format!("{path}/ping");
        assert_eq!(server.status("GET", &ping, &token).await, 200);
        assert_eq!(server.status("GET", &ping, &[(HEADER, KEY)]).await, 200);
        assert_eq!(server.status("GET", &ping, &[(HEADER, "wrong"), token[0]]).await, 200, "either lets in");
        for (wrong, code) in [
            (vec![], "MISSING_OR_INVALID_SECURE_ACCESS"),
            (borrowed(&others), "MISSING_OR_INVALID_SECURE_ACCESS"),
            (borrowed(&of_port), "MISSING_OR_INVALID_SECURE_ACCESS"),
            (vec![(token[0].0, of_port[0].1.as_str())], "MISSING_OR_INVALID_SECURE_ACCESS"),
            (vec![token[0], token[0]], "MISSING_OR_INVALID_SECURE_ACCESS"),
            (vec![(HEADER, "wrong")], "INVALID_API_KEY"),
            (vec![(HEADER, token[0].1)], "INVALID_API_KEY"),
        ] {
            assert_eq!(
                server.raw("GET", &ping, &wrong, Body::empty()).await.refusal(),
                (401, code.into()),
                "{wrong:?}"
            );
        }
    }
}

/// Every operation that is described, with ids in place of its parameters.
fn operations(sandbox: &str) -> Vec<(String, String)> {
    let document = schema::document();
    let paths = document["paths"].as_object().expect("paths");
    let of = |(pattern, item): (&String, &serde_json::Value)| -> Vec<(String, String)> {
        let path = pattern.replace("{id}", sandbox).replace("{port}", "8080").replace(['{', '}'], "");
        let operations = item.as_object().expect("operations").iter();
        let closed = operations.filter(|(_, it)| it["responses"].is_object() && it["security"] != json!([]));
        closed.map(|(method, _)| (method.to_uppercase(), format!("/v1{path}"))).collect()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn no_route_opens_to_a_wrong_key_or_to_the_token_of_another_place() {
    let server = locked().await;
    let (one, other) = (server.made().await, server.made().await);
    let (_, own) = server.endpoint(&one, "44772").await;
    let (_, others) = server.endpoint(&other, "8080").await;
    let operations = operations(&one);
    assert!(operations.len() > 40, "{operations:?}");
    for (method, path) in operations {
        let strangers = [
            vec![],
            vec![(HEADER, "wrong")],
            vec![("authorization", KEY)],
            vec![(HEADER, KEY), (HEADER, KEY)],
            borrowed(&others),
        ];
        for headers in strangers {
            assert_eq!(server.status(&method, &path, &headers).await, 401, "{method} {path} {headers:?}");
        }
        let exec = path.contains("/proxy/44772");
        // The pretended host does what it is told on this machine, so it is only asked to read.
        if exec && method != "GET" {
            continue;
        }
        let status = server.status(&method, &path, &borrowed(&own)).await;
        assert_eq!(status == 401, !exec, "{method} {path} with the token of the exec API: {status}");
    }
}

#[tokio::test]
async fn a_signed_address_needs_no_header_until_its_time_is_over() {
    let server = locked().await;
    let sandbox = server.made().await;
    let (path, headers) = server.endpoint(&sandbox, "44772?expires=4102444800").await;
    assert!(path.ends_with("/44772") && path.contains(&format!("/{sandbox}-44772-")), "{path}");
    assert!(headers.is_empty(), "{headers:?}");
    assert_eq!(server.status("GET", &format!("{path}/ping"), &[]).await, 200);
    assert_eq!(server.status("GET", &format!("{path}/ping"), &[("origin", "http://page.example")]).await, 200);
    let ended = server.state.access.sign(&id(&sandbox), 44772, 1_700_000_000);
    let ended = format!("/v1/sandboxes/{sandbox}/signed/{ended}/44772/ping");
    let code = (401, "MISSING_OR_INVALID_SECURE_ACCESS".to_owned());
    for path in [ended, path.replace("/44772", "/44773") + "/ping", path.replace(&sandbox, NOBODY) + "/ping"] {
        assert_eq!(server.raw("GET", &path, &[], Body::empty()).await.refusal(), code, "{path}");
        assert_eq!(server.keyed("GET", &path, Body::empty()).await.refusal(), code, "{path} with the key");
    }
    server.keyed("DELETE", &format!("/v1/sandboxes/{sandbox}"), Body::empty()).await;
    assert_eq!(server.status("GET", &format!("{path}/ping"), &[]).await, 404);
}

#[tokio::test]
async fn tokens_are_those_of_the_secret_and_not_of_the_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let token = || {
        let secret = Secret::keep(&dir.path().join("access.key")).expect("kept");
        Access::new(secret).token(&id(NOBODY), 8080)
    };
    assert_eq!(token(), token());
    assert_ne!(token(), Access::new(Secret::random()).token(&id(NOBODY), 8080));
}
