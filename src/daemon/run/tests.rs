//! The daemon on a pretended host, spoken to by the command line's own client over a real socket.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::console::{Call, Client, Failure};
use crate::sandbox::fake::FakeHost;

struct Daemon {
    config: Config,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), StartFailure>>,
}

/// Listens on a socket in `dir`, with `variables` as its environment.
fn config(dir: &Path, variables: &[(&str, &str)]) -> Config {
    let mut variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let empty = dir.join("config.toml");
    fs::create_dir_all(dir).expect("made");
    fs::write(&empty, "").expect("written");
    for (name, below) in [("BIVOUAC_STATE_DIR", "state"), ("BIVOUAC_RUN_DIR", "run")] {
        fs::create_dir_all(dir.join(below)).expect("made");
        variables.insert(name.to_owned(), dir.join(below).display().to_string());
    }
    Config::load(Some(&empty), |name| variables.get(name).cloned(), &[]).expect("valid")
}

impl Daemon {
    /// Starts it; whoever connects before its door is open is not refused but tries again.
    async fn start(config: Config, host: FakeHost) -> Self {
        let (images, store) = parts::stores(&config).expect("opened");
        let parts = Parts { images, store, host: Arc::new(host) };
        let (stop, stopped) = oneshot::channel();
        let again = config.clone();
        let run = tokio::spawn(async move {
            let stopped = async { stopped.await.map_or("nobody", |()| "the test") };
            serve_until(&again, &parts, stopped).await
        });
        let daemon = Self { config, stop, run };
        daemon.is_up().await;
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.config.run_dir.join("bivouac.sock")
    }

    async fn is_up(&self) {
        while tokio::net::UnixStream::connect(self.socket()).await.is_err() {
            assert!(!self.run.is_finished(), "the daemon did not start");
            tokio::task::yield_now().await;
        }
    }

    fn client(&self, key: Option<&str>) -> Client {
        Client::new(Address::Unix(self.socket()), key).expect("a client")
    }

    async fn stop(self) -> Config {
        self.stop.send(()).expect("told");
        self.run.await.expect("joined").expect("in order");
        self.config
    }
}

fn create() -> Call {
    let body =
        json!({"image": {"uri": "base"}, "entrypoint": ["sh"], "resourceLimits": {}, "metadata": {"name": "web"}});
    Call::new(Method::POST, "/v1/sandboxes", "create").with(body)
}

fn call(method: Method, path: &str) -> Call {
    Call::new(method, path, "ask")
}

async fn state(client: &Client, id: &str) -> String {
    let found: Value = client.json(call(Method::GET, &format!("/v1/sandboxes/{id}"))).await.expect("found");
    found["status"]["state"].as_str().expect("a state").to_owned()
}

#[tokio::test]
async fn a_sandbox_outlives_its_daemon() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = FakeHost::new();
    let daemon = Daemon::start(config(dir.path(), &[]), host.restarted()).await;
    let client = daemon.client(None);
    let made: Value = client.json(create()).await.expect("created");
    let id = made["id"].as_str().expect("an id").to_owned();
    client.done(call(Method::POST, &format!("/v1/sandboxes/{id}/pause"))).await.expect("paused");
    let socket = daemon.socket();
    let config = daemon.stop().await;
    assert!(!socket.exists());

    let daemon = Daemon::start(config, host.restarted()).await;
    let client = daemon.client(None);
    assert_eq!(state(&client, &id).await, "Paused");
    assert_eq!(crate::console::find_id(&client, "web").await.expect("by its name"), id);
    assert_eq!(crate::console::find_id(&client, &id[..5]).await.expect("by its beginning"), id);
    client.done(call(Method::POST, &format!("/v1/sandboxes/{id}/resume"))).await.expect("resumed");
    client.done(call(Method::DELETE, &format!("/v1/sandboxes/{id}"))).await.expect("deleted");
    daemon.stop().await;
}

#[tokio::test]
async fn a_key_that_is_configured_for_the_socket_is_asked_for() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), &[("BIVOUAC_API_KEY", KEY)]), FakeHost::new()).await;
    for key in [None, Some("another-key-of-the-same-length-!")] {
        let refused = daemon.client(key).json::<Value>(call(Method::GET, "/v1/sandboxes")).await.expect_err("no key");
        assert!(matches!(refused, Failure::Refused { status: 401, .. }), "{refused:?}");
        assert!(refused.line().contains("BIVOUAC_API_KEY"), "{}", refused.line());
    }
    daemon.client(Some(KEY)).json::<Value>(call(Method::GET, "/v1/sandboxes")).await.expect("let in");
    daemon.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_stops_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Daemon::start(config(dir.path(), &[]), FakeHost::new()).await;
    let (images, store) = parts::stores(&config(&dir.path().join("other"), &[])).expect("opened");
    let parts = Parts { images, store, host: Arc::new(FakeHost::new()) };
    let refused = serve_until(&first.config, &parts, std::future::pending()).await.expect_err("taken");
    assert!(refused.story().contains("something else answers there"), "{}", refused.story());
    first.stop().await;
}
