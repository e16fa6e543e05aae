//! All sandboxes of the daemon, and what may be asked of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};

use super::adoption::{self, StartError, StartReport};
use super::driver::{Answer, Ask, Call, Driver, Facts, Finish, INBOX, Shared};
use super::expiry::Now;
use super::listing::{self, Filter, Found, Listing};
use super::machine::State;
use super::snapshot::{Sandbox, Snapshot};
use super::usage::Meters;
use super::{Denial, Fetch, Host, LifecycleConfig, Presence, birth};
use crate::model::{History, NetworkMode, Phase, PolicyChange, Reason, SandboxId, SandboxSpec};
use crate::store::Store;

/// The sandboxes. A clone is another handle on the same ones; when the last is gone, drivers leave their sandboxes
/// as they are.
#[derive(Clone)]
pub struct Sandboxes {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub shared: Arc<Shared>,
    entries: RwLock<HashMap<SandboxId, Entry>>,
    closing: watch::Sender<bool>,
    meters: Meters,
}

/// How a sandbox is reached: its driver's inbox, and what the driver published last.
#[derive(Clone)]
struct Entry {
    inbox: mpsc::Sender<Call>,
    seen: watch::Receiver<Arc<Snapshot>>,
}

impl Sandboxes {
    /// Loads the records, claims their id ranges, adopts or ends each sandbox, and sweeps what nobody knows. Returns
    /// when every sandbox is in a truthful state; nobody should be served before.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub async fn start(
        host: Arc<dyn Host>,
        store: Arc<Store>,
        config: LifecycleConfig,
    ) -> Result<(Self, StartReport), StartError> {
        let inner = Arc::new(Inner {
            shared: Arc::new(Shared { host, store, config }),
            entries: RwLock::default(),
            closing: watch::Sender::new(false),
            meters: Meters::default(),
        });
        let report = adoption::adopt_all(&inner).await?;
        Ok((Self { inner }, report))
    }

    #[must_use]
    pub fn config(&self) -> &LifecycleConfig {
        &self.inner.shared.config
    }

    /// Makes a sandbox. Resolves when it is Running or Failed (or was deleted meanwhile). A caller that stops waiting
    /// does not stop the making.
    ///
    /// # Errors
    /// When nothing was made: the image is not there, the disk is nearly full, no id range or record is to be had, the daemon shuts down.
    pub async fn create(&self, spec: SandboxSpec) -> Result<Sandbox, Denial> {
        self.create_fetching(spec, Fetch::default()).await
    }

    /// As [`create`](Self::create); says when the image is fetched, and as whom. Where it is, this resolves as soon as the sandbox
    /// is recorded as Pending.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_fetching(&self, spec: SandboxSpec, fetch: Fetch) -> Result<Sandbox, Denial> {
        self.refuse_when_closing()?;
        let checked = self.inner.shared.host.check_image(&spec.image, &fetch).await;
        let presence = checked.map_err(|error| match error.reason {
            Reason::ImageNotFound => Denial::ImageNotFound { image: spec.image.clone(), message: error.message },
            _ => Denial::Host(error),
        })?;
        self.inner.shared.host.check_room().await.map_err(Denial::NoRoom)?;
        let (asker, answer) = oneshot::channel();
        birth::begin(&self.inner, spec, (presence == Presence::Elsewhere).then_some(fetch), asker);
        answer.await.unwrap_or_else(|_| Err(Denial::Busy { id: "that is being made".to_owned() }))
    }

    /// The sandbox as it is now, removed ones too until their retention is over.
    #[must_use]
    pub fn get(&self, id: &SandboxId) -> Option<Sandbox> {
        self.inner.entry(id).map(|entry| entry.seen.borrow().sandbox.clone())
    }

    /// What has happened to the sandbox so far.
    #[must_use]
    pub fn history(&self, id: &SandboxId) -> Option<History> {
        self.inner.entry(id).map(|entry| entry.seen.borrow().history.clone())
    }

    /// What the sandbox is on this host, as names and values for people.
    #[must_use]
    pub fn describe(&self, id: &SandboxId) -> Option<Vec<(String, String)>> {
        let seen = self.inner.entry(id)?.seen.borrow().clone();
        let (spec, proof) = (&seen.sandbox.spec, seen.proof.as_deref());
        Some(self.inner.shared.host.describe(id, seen.base, spec, proof))
    }

    /// Those that have not ended and have the network of the host.
    #[must_use]
    pub fn on_host_network(&self) -> Vec<SandboxId> {
        let ended = |phase| matches!(phase, Phase::Terminated | Phase::Failed);
        let all = self.inner.snapshots().into_iter().map(|seen| seen.sandbox.clone());
        let on_host = all.filter(|one| one.spec.network == Some(NetworkMode::Host) && !ended(one.status.phase));
        on_host.map(|one| one.id).collect()
    }

    /// One page (from 1) of the sandboxes that the filter shows, youngest first.
    #[must_use]
    pub fn list(&self, filter: &Filter, page: u32, page_size: u32) -> Listing {
        listing::page(self.inner.snapshots(), filter, page, page_size)
    }

    /// The sandbox that a text on a command line means: an id, a `name`, or the beginning of an id.
    #[must_use]
    pub fn find_by_name_or_prefix(&self, text: &str) -> Found {
        listing::find(&self.inner.snapshots(), text)
    }

    /// Ends a sandbox. Resolves when that is recorded; from then on every call on it is [`Denial::NotFound`].
    ///
    /// # Errors
    /// When there is no such sandbox.
    pub async fn delete(&self, id: &SandboxId) -> Result<(), Denial> {
        self.call(id, Ask::Delete).await.map(drop)
    }

    /// Freezes a sandbox. Resolves when it is Paused.
    ///
    /// # Errors
    /// When it is not Running, or the host failed to freeze it and it runs again.
    pub async fn pause(&self, id: &SandboxId) -> Result<(), Denial> {
        self.call(id, Ask::Pause).await.map(drop)
    }

    /// Thaws a sandbox. Resolves when it is Running.
    ///
    /// # Errors
    /// When it is not Paused, or the host failed to thaw it and it is Paused still.
    pub async fn resume(&self, id: &SandboxId) -> Result<(), Denial> {
        self.call(id, Ask::Resume).await.map(drop)
    }

    /// Sets when the sandbox's time is up, and returns that.
    ///
    /// # Errors
    /// When it has no expiry, or the time is not in the future, or not after the current one.
    pub async fn renew(&self, id: &SandboxId, expires_at: DateTime<Utc>) -> Result<DateTime<Utc>, Denial> {
        let renewed = self.call(id, Ask::Renew(expires_at.timestamp_micros())).await?;
        renewed.expires_at.ok_or(Denial::NoExpiry)
    }

    /// Sets labels, and removes those without a value.
    ///
    /// # Errors
    /// When there is no such sandbox.
    pub async fn patch_metadata(
        &self,
        id: &SandboxId,
        patch: BTreeMap<String, Option<String>>,
    ) -> Result<Sandbox, Denial> {
        self.call(id, Ask::Patch(patch)).await
    }

    /// Sends a signal to the entrypoint.
    ///
    /// # Errors
    /// When the sandbox is not Running, or the host failed to send it.
    pub async fn signal(&self, id: &SandboxId, signal: i32) -> Result<(), Denial> {
        self.call(id, Ask::Signal(signal)).await.map(drop)
    }

    /// Resolves when the sandbox is not Pending any more; `None` when there is no such sandbox.
    pub async fn begun(&self, id: &SandboxId) -> Option<Sandbox> {
        let mut seen = self.inner.entry(id)?.seen;
        let begun = |seen: &Arc<Snapshot>| seen.sandbox.status.phase != Phase::Pending;
        let now = seen.wait_for(begun).await.map(|seen| seen.sandbox.clone());
        Some(now.unwrap_or_else(|_| seen.borrow().sandbox.clone()))
    }

    /// Changes what the sandbox may reach. Resolves when that is in force, for connections that there are as well.
    ///
    /// # Errors
    /// When it is neither Running nor Paused, has no network, or the rules become too many; or the host failed, and then it
    /// reaches nothing until the daemon's next try.
    pub async fn change_policy(&self, id: &SandboxId, change: PolicyChange) -> Result<Sandbox, Denial> {
        self.call(id, Ask::Policy(change)).await
    }

    /// Resolves when the sandbox is Terminated or Failed; `None` when there is no such sandbox.
    pub async fn wait(&self, id: &SandboxId) -> Option<Sandbox> {
        let mut seen = self.inner.entry(id)?.seen;
        let over = |seen: &Arc<Snapshot>| matches!(seen.sandbox.status.phase, Phase::Terminated | Phase::Failed);
        // The driver ends only after the sandbox has, or when the daemon stops; then the last that was seen stands.
        let ended = seen.wait_for(over).await.map(|seen| seen.sandbox.clone());
        Some(ended.unwrap_or_else(|_| seen.borrow().sandbox.clone()))
    }

    /// Refuses every further call, and resolves when no change is in flight any more. The sandboxes stay.
    pub async fn shutdown(&self) {
        self.inner.closing.send_replace(true);
        for entry in self.inner.entries() {
            entry.inbox.closed().await;
        }
        self.inner.shared.host.leave();
    }

    /// What the driver publishes.
    #[cfg(test)]
    pub(super) fn seen(&self, id: &SandboxId) -> Option<watch::Receiver<Arc<Snapshot>>> {
        self.inner.entry(id).map(|entry| entry.seen)
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// What the drivers share, and what this sandbox's publishes.
    pub(super) fn reach(&self, id: &SandboxId) -> Option<(Arc<Shared>, watch::Receiver<Arc<Snapshot>>)> {
        self.inner.entry(id).map(|entry| (Arc::clone(&self.inner.shared), entry.seen))
    }

    async fn call(&self, id: &SandboxId, ask: Ask) -> Answer {
        self.refuse_when_closing()?;
        let entry = self.inner.entry(id).ok_or_else(|| Denial::NotFound { id: id.to_string() })?;
        let (reply, answer) = oneshot::channel();
        if entry.inbox.send(Call { ask, reply }).await.is_err() {
            return Err(self.unanswered(id, &entry));
        }
        answer.await.unwrap_or_else(|_| Err(self.unanswered(id, &entry)))
    }

    /// The driver is gone, or lost the call.
    fn unanswered(&self, id: &SandboxId, entry: &Entry) -> Denial {
        match self.refuse_when_closing() {
            Err(closing) => closing,
            Ok(()) if entry.seen.borrow().removed => Denial::NotFound { id: id.to_string() },
            Ok(()) => Denial::Busy { id: id.to_string() },
        }
    }

    fn refuse_when_closing(&self) -> Result<(), Denial> {
        if *self.inner.closing.borrow() { Err(Denial::ShuttingDown) } else { Ok(()) }
    }
}

impl Inner {
    /// A driver for a sandbox, which can be reached from now on. It does nothing until [`run`](Self::run).
    pub fn driver(&self, (facts, state): (Facts, State)) -> Driver {
        let (inbox, calls) = mpsc::channel(INBOX);
        let id = facts.id.clone();
        let driver = Driver::new(Arc::clone(&self.shared), (facts, state), calls, self.closing.subscribe());
        let entry = Entry { inbox, seen: driver.watch() };
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
        driver
    }

    /// Runs a driver to its end, and takes its sandbox off the map when it is no more.
    pub async fn run(inner: Weak<Self>, mut driver: Driver) {
        if driver.live().await == Finish::Forgotten
            && let Some(inner) = inner.upgrade()
        {
            inner.meters.forget(driver.id());
            inner.entries.write().unwrap_or_else(PoisonError::into_inner).remove(driver.id());
        }
    }

    pub fn now(&self) -> Now {
        Now::read(&*self.shared.host)
    }

    fn entry(&self, id: &SandboxId) -> Option<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn entries(&self) -> Vec<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| Arc::clone(&entry.seen.borrow())).collect()
    }
}

impl std::fmt::Debug for Sandboxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandboxes").field("known", &self.inner.entries().len()).finish_non_exhaustive()
    }
}
