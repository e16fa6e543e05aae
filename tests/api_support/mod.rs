//! The whole API over a pretended host, called without a socket. Every answer is held against what all answers promise
//! and against the API's own description.

#![expect(dead_code, reason = "each test program uses a part of it")]

pub mod schema;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use bivouac::api::{ApiState, Auth, router};
use bivouac::image::{ImageStore, UnpackLimits};
use bivouac::model::SandboxId;
use bivouac::sandbox::fake::FakeHost;
use bivouac::sandbox::logs::Logs;
use bivouac::sandbox::{LifecycleConfig, Sandboxes};
use bivouac::store::Store;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

pub struct Server {
    pub router: Router,
    pub state: ApiState,
    pub host: Arc<FakeHost>,
    pub dir: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Server {
    pub async fn start() -> Self {
        let config = LifecycleConfig { max_timeout: Some(Duration::from_secs(86_400)), ..LifecycleConfig::default() };
        Self::with(config, Auth::None).await
    }

    pub async fn with(config: LifecycleConfig, auth: Auth) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Arc::new(FakeHost::new());
        let store = Arc::new(Store::open(&dir.path().join("records.db")).expect("a store"));
        let (sandboxes, _) = Sandboxes::start(Arc::clone(&host) as _, store, config).await.expect("started");
        let images = Arc::new(ImageStore::open(&dir.path().join("images"), UnpackLimits::default()).expect("images"));
        std::fs::create_dir(dir.path().join("sandboxes")).expect("a directory");
        let logs = Arc::new(Logs::new(dir.path().join("sandboxes")));
        let state = ApiState::new(sandboxes, images, logs, auth, "1.2.3");
        Self { router: router(state.clone()), state, host, dir }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send("POST", path, Some(body)).await
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.raw(method, path, &[("content-type", "application/json")], body).await
    }

    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        let answer = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        let reply = Reply { status: parts.status.as_u16(), headers: parts.headers, body };
        reply.keeps_promises(method, path);
        reply
    }

    /// A running sandbox's id.
    pub async fn created(&self, changes: Value) -> String {
        let reply = self.post("/v1/sandboxes", request(changes)).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    /// Nothing is recorded and nothing is on the host.
    pub async fn assert_empty(&self, after: &str) {
        let listed = self.get("/v1/sandboxes?state=Pending&state=Running&state=Failed&state=Terminated").await.json();
        assert_eq!(listed["pagination"]["totalItems"], 0, "after {after}");
        assert_eq!(self.host.left_over(), Vec::<String>::new(), "after {after}");
        assert_eq!(self.host.taken_ranges(), 0, "after {after}");
        assert_eq!(self.host.violations(), Vec::<String>::new(), "after {after}");
    }
}

/// A valid request for a sandbox with `changes` laid over it.
pub fn request(changes: Value) -> Value {
    let mut body = json!({
        "image": {"uri": "python:3.11"}, "entrypoint": ["tail", "-f", "/dev/null"], "resourceLimits": {"cpu": "1"},
    });
    let fields = body.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    body
}

pub fn id(text: &str) -> SandboxId {
    text.parse().expect("an id")
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Status and code of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// What holds for every answer.
    fn keeps_promises(&self, method: &str, path: &str) {
        let what = format!("{method} {path} -> {self:?}");
        assert_eq!(self.headers.get_all("x-request-id").iter().count(), 1, "{what}");
        assert!(!self.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{what}");
        if self.status == 204 || (self.status == 202 && self.body.is_empty()) {
            assert!(self.body.is_empty(), "{what}");
        }
        // The egress API says in text what is wrong.
        let in_text = path.contains("/18080/") && self.header("content-type") == Some("text/plain; charset=utf-8");
        if self.status >= 400 && method != "HEAD" && !in_text {
            let body = self.json();
            let keys: Vec<_> = body.as_object().expect(&what).keys().cloned().collect();
            assert_eq!(keys, ["code", "message"], "{what}");
            assert!(body["message"].as_str().is_some_and(|message| message.len() > 10), "{what}");
        }
        if self.header("content-type") == Some("application/json")
            && method != "HEAD"
            && !path.ends_with("openapi.json")
        {
            assert_no_null(&self.json(), &what);
        }
        schema::check(method, path, self);
    }
}

fn assert_no_null(value: &Value, what: &str) {
    match value {
        Value::Null => panic!("an explicit null in {what}"),
        Value::Array(items) => items.iter().for_each(|item| assert_no_null(item, what)),
        Value::Object(fields) => fields.values().for_each(|field| assert_no_null(field, what)),
        _ => {}
    }
}
