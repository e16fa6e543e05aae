//! The lifecycle over a pretended host, with paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::fake::{Behaviour, FakeHost, Step};
use super::*;
use crate::model::{Exit, Interaction, Limits, NetworkTerms, Phase, Reason, SandboxId, SandboxSpec};
use crate::store::Store;

mod adoption;
mod chaos;
mod crash;
mod driver;
mod faults;
mod fetching;
mod listing;
mod time;
mod unwritable;

/// A daemon on a pretended host.
struct Bench {
    host: Arc<FakeHost>,
    sandboxes: Sandboxes,
    report: StartReport,
    state: Arc<TempDir>,
}

impl Bench {
    async fn new() -> Self {
        Self::on(Arc::new(FakeHost::new()), Arc::new(TempDir::new().unwrap()), LifecycleConfig::default()).await
    }

    async fn with(config: LifecycleConfig) -> Self {
        Self::on(Arc::new(FakeHost::new()), Arc::new(TempDir::new().unwrap()), config).await
    }

    async fn on(host: Arc<FakeHost>, state: Arc<TempDir>, config: LifecycleConfig) -> Self {
        let store = Arc::new(Store::open(&state.path().join("records.db")).unwrap());
        let (sandboxes, report) = Sandboxes::start(Arc::clone(&host) as Arc<dyn Host>, store, config).await.unwrap();
        Self { host, sandboxes, report, state }
    }

    /// The daemon stops in good order and starts again.
    async fn restart(self) -> Self {
        let host = Arc::new(self.host.restarted());
        self.start_again(host).await
    }

    /// The host does.
    async fn reboot(self) -> Self {
        let host = Arc::new(self.host.rebooted());
        self.start_again(host).await
    }

    async fn start_again(self, host: Arc<FakeHost>) -> Self {
        self.sandboxes.shutdown().await;
        let config = self.sandboxes.config().clone();
        drop(self.sandboxes);
        Self::on(host, self.state, config).await
    }

    async fn create(&self) -> SandboxId {
        let sandbox = self.sandboxes.create(spec()).await.unwrap();
        assert_eq!(sandbox.status.phase, Phase::Running, "{:?}", sandbox.status);
        sandbox.id
    }

    fn phase(&self, id: &SandboxId) -> Option<Phase> {
        self.sandboxes.get(id).map(|sandbox| sandbox.status.phase)
    }

    fn get(&self, id: &SandboxId) -> Sandbox {
        self.sandboxes.get(id).unwrap()
    }

    /// Waits until the sandbox is in this phase, and returns it as it was then.
    async fn until(&self, id: &SandboxId, phase: Phase) -> Sandbox {
        let mut seen = self.sandboxes.seen(id).unwrap();
        let in_phase = seen.wait_for(|seen| seen.sandbox.status.phase == phase);
        let waited = tokio::time::timeout(Duration::from_secs(3600), in_phase).await;
        match waited {
            Ok(seen) => seen.unwrap().sandbox.clone(),
            Err(_) => panic!("waited for {phase}, it is {:?}", self.get(id).status),
        }
    }

    /// Waits until nothing is known of it any more.
    async fn until_gone(&self, id: &SandboxId) {
        let mut seen = self.sandboxes.seen(id).unwrap();
        while seen.changed().await.is_ok() {}
        // The driver lets go of what it publishes a moment after it took the sandbox off the map.
        assert_eq!(self.sandboxes.get(id), None);
    }

    /// The record store, behind the daemon's back.
    fn records(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.state.path().join("records.db")).unwrap()
    }

    fn get_all(&self) -> usize {
        self.sandboxes.list(&Filter { phases: Phase::ALL.to_vec(), ..Filter::default() }, 1, 1).total
    }

    fn check_host(&self) {
        assert_eq!(self.host.violations(), Vec::<String>::new());
    }
}

fn spec() -> SandboxSpec {
    SandboxSpec {
        image: "bivouac/base:latest".to_owned(),
        entrypoint: vec!["sleep".to_owned(), "inf".to_owned()],
        env: BTreeMap::new(),
        metadata: BTreeMap::new(),
        limits: Limits::default(),
        timeout: None,
        platform: None,
        extensions: BTreeMap::new(),
        network: None,
        interaction: Interaction::None,
        cwd: None,
        policy: None,
        network_terms: NetworkTerms::default(),
    }
}

fn spec_for(timeout: Duration) -> SandboxSpec {
    SandboxSpec { timeout: Some(timeout), ..spec() }
}

/// Starts a call that is answered later.
fn begin<F>(bench: &Bench, call: impl FnOnce(Sandboxes) -> F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(call(bench.sandboxes.clone()))
}
