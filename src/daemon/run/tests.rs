//! The daemon on a pretended host, spoken to by the command line's own client over a real socket.

mod proxy;
mod smuggling;
mod upgrades;
mod upstream;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::console::{self, Call, Client, Failure};
use crate::image::{ImageStore, Puller, RegistryConfig};
use crate::model::NetworkOffer;
use crate::sandbox::fake::FakeHost;

struct Daemon {
    config: Config,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), StartFailure>>,
}

fn puller(images: &Arc<ImageStore>) -> Puller {
    Puller::new(Arc::clone(images), RegistryConfig::default()).expect("a puller")
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
        Self::start_offering(config, host, NetworkOffer::default()).await
    }

    async fn start_offering(config: Config, host: FakeHost, network: NetworkOffer) -> Self {
        let (images, store) = parts::stores(&config).expect("opened");
        let parts = Parts { puller: puller(&images), images, store, host: Arc::new(host), network };
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
    let network = NetworkOffer::default();
    let parts = Parts { puller: puller(&images), images, store, host: Arc::new(FakeHost::new()), network };
    let refused = serve_until(&first.config, &parts, std::future::pending()).await.expect_err("taken");
    assert!(refused.story().contains("something else answers there"), "{}", refused.story());
    first.stop().await;
}

#[tokio::test]
async fn no_door_opens_without_a_key_beside_a_sandbox_on_the_hosts_network() {
    let dir = tempfile::tempdir().expect("a directory");
    let (host, allowing) = (FakeHost::new(), NetworkOffer { allows_host: true, ..NetworkOffer::default() });
    let daemon = Daemon::start_offering(config(dir.path(), &[]), host.restarted(), allowing).await;
    let mut body = json!({"image": {"uri": "base"}, "entrypoint": ["sh"], "resourceLimits": {}});
    body["extensions"] = json!({"bivouac.network": "host"});
    let client = daemon.client(None);
    let call = Call::new(Method::POST, "/v1/sandboxes", "create").with(body);
    let made: Value = client.json(call).await.expect("created");
    let id = made["id"].as_str().expect("an id").to_owned();
    daemon.stop().await;
    let on_tcp = ("BIVOUAC_LISTEN", "tcp:127.0.0.1:0");
    let key = ("BIVOUAC_API_KEY", "sesame-sesame-sesame");
    for (variables, told) in [
        (vec![on_tcp, ("BIVOUAC_INSECURE_NO_AUTH", "true")], "set an API key"),
        (vec![on_tcp, key, ("BIVOUAC_PROXY_OPEN_PORTS", "true")], "proxy.open_ports"),
    ] {
        let config = config(dir.path(), &variables);
        let (images, store) = parts::stores(&config).expect("opened");
        let (host, network) = (Arc::new(host.restarted()), NetworkOffer::default());
        let parts = Parts { puller: puller(&images), images, store, host, network };
        let start = serve_until(&config, &parts, async { "the test" });
        let failure = start.await.expect_err("open to it");
        assert!(failure.story().contains(&id) && failure.story().contains(told), "{}", failure.story());
        assert_eq!(failure.exit_code(), 2);
    }
    // Where keys are asked for it is taken over, and once it is gone every door may be open.
    let daemon = Daemon::start(config(dir.path(), &[]), host.restarted()).await;
    daemon.client(None).done(self::call(Method::DELETE, &format!("/v1/sandboxes/{id}"))).await.expect("deleted");
    daemon.stop().await;
    let config = config(dir.path(), &[on_tcp, ("BIVOUAC_INSECURE_NO_AUTH", "true")]);
    let (images, store) = parts::stores(&config).expect("opened");
    let (host, network) = (Arc::new(host.restarted()), NetworkOffer::default());
    let parts = Parts { puller: puller(&images), images, store, host, network };
    serve_until(&config, &parts, async { "the test" }).await.expect("open to nobody");
}

/// A root tar with one file, and `create` arguments for it.
fn root_tar(dir: &Path) -> PathBuf {
    let path = dir.join("root.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).expect("made"));
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    header.set_mode(0o755);
    header.set_cksum();
    tar.append_data(&mut header, "bin/sh", &b"a lie"[..]).expect("appended");
    tar.into_inner().and_then(|file| file.sync_all()).expect("written");
    path
}

/// The arguments of a command as they are typed.
fn typed<A: clap::Args>(line: &str) -> A {
    let words = std::iter::once("bivouac").chain(line.split(' '));
    let matches = A::augment_args(clap::Command::new("bivouac")).try_get_matches_from(words).expect("parses");
    A::from_arg_matches(&matches).expect("complete")
}

/// What PID 1 would have written: one segment with one frame.
fn write_log(config: &Config, id: &str, text: &[u8]) {
    let dir = config.state_dir.join("sandboxes").join(id);
    fs::create_dir_all(&dir).expect("made");
    let mut segment = b"BVKLOG1\n".to_vec();
    segment.extend(1u64.to_le_bytes());
    segment.extend(0u64.to_le_bytes());
    segment.extend([1, 0, 0, 0]);
    segment.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
    segment.extend(1u64.to_le_bytes());
    segment.extend(text);
    fs::write(dir.join("log.0"), segment).expect("written");
}

#[tokio::test]
async fn images_come_in_and_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), &[]), FakeHost::new()).await;
    let client = daemon.client(None);
    let path = root_tar(dir.path());
    let import = |line: String| {
        let client = &client;
        async move { console::image::import::import(client, &typed(&line)).await }
    };
    import(format!("{} --name mine:1", path.display())).await.expect("imported");
    let images: Value = client.json(call(Method::GET, "/v1/images")).await.expect("listed");
    assert_eq!(images["items"][0]["name"], "mine:1");
    console::image::list::list(&client, &typed("--json")).await.expect("listed");
    console::image::inspect::inspect(&client, &typed("mine:1")).await.expect("inspected");
    console::image::rm::remove(&client, &typed("mine:1")).await.expect("removed");
    let absent = console::image::rm::remove(&client, &typed("mine:1")).await.expect_err("gone");
    assert!(absent.line().contains("failed to remove image mine:1: "), "{}", absent.line());

    let garbage = dir.path().join("garbage");
    fs::write(&garbage, vec![b'x'; 3 << 20]).expect("written");
    let refused = import(format!("{} --name bad", garbage.display())).await.expect_err("no image");
    assert!(matches!(refused, Failure::Refused { status: 400..500, .. }), "{refused:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn every_verb_of_a_sandbox_does_what_it_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(config(dir.path(), &[]), FakeHost::new()).await;
    let client = daemon.client(None);
    let import = format!("{} --name mine", root_tar(dir.path()).display());
    console::image::import::import(&client, &typed(&import)).await.expect("imported");

    let line = "mine --name web --env A=1 --cpu 500m --memory 64Mi --timeout 5m --metadata team=x -- sh -c true";
    console::create::create(&client, &typed(line)).await.expect("created");
    let id = console::find_id(&client, "web").await.expect("found");
    let made: Value = client.json(call(Method::GET, &format!("/v1/sandboxes/{id}"))).await.expect("there");
    assert_eq!(made["entrypoint"], json!(["sh", "-c", "true"]));
    assert_eq!(made["metadata"], json!({"name": "web", "team": "x"}));

    console::list::list(&client, &typed("--state Running --metadata team=x")).await.expect("listed");
    console::get::get(&client, &typed("web --json")).await.expect("shown");
    console::get::get(&client, &typed("web")).await.expect("shown");
    console::pause::pause(&client, &typed("web")).await.expect("paused");
    assert_eq!(state(&client, &id).await, "Paused");
    let again = console::pause::pause(&client, &typed("web")).await.expect_err("paused already");
    assert!(matches!(again, Failure::Refused { status: 409, .. }), "{again:?}");
    console::resume::resume(&client, &typed("web")).await.expect("resumed");
    console::renew::renew(&client, &typed("web --for 30m")).await.expect("renewed");
    write_log(&daemon.config, &id, b"hello\n");
    let mut shown = 0;
    console::logs::show(&client, &id, console::logs::Part::default(), &mut shown).await.expect("read");
    assert_eq!(shown, 6);
    console::rm::remove(&client, &typed(&id[..8])).await.expect("removed");
    console::find_id(&client, "web").await.expect_err("gone");
    daemon.stop().await;
}

#[tokio::test]
async fn run_passes_signals_on_and_ends_with_the_programs_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = FakeHost::new();
    let daemon = Daemon::start(config(dir.path(), &[]), host.restarted()).await;
    let client = daemon.client(None);
    let import = format!("{} --name mine", root_tar(dir.path()).display());
    console::image::import::import(&client, &typed(&import)).await.expect("imported");

    let (theirs, ours) = (daemon.client(None), host.restarted());
    let run = tokio::spawn(async move { console::run::run(&theirs, &typed("mine --rm -- sh")).await });
    let id = loop {
        match ours.living().pop() {
            Some(id) => break id,
            None => tokio::task::yield_now().await,
        }
    };
    // It lives, so `run` catches this signal.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).expect("raised");
    while ours.signals(&id).is_empty() {
        assert!(!run.is_finished(), "it ended before the signal");
        tokio::task::yield_now().await;
    }
    assert_eq!(ours.signals(&id), [1]);
    ours.exit(&id, 42);
    assert_eq!(run.await.expect("joined").expect("ran"), 42);
    let gone = client.json::<Value>(call(Method::GET, "/v1/sandboxes")).await.expect("listed");
    assert_eq!(gone["pagination"]["totalItems"], 0);
    daemon.stop().await;
}
