//! Prepared sandboxes: everything that does not depend on who will ask, done before anybody does.
//!
//! A slot is an id, an id range with its namespaces and cgroups, the image layers as that range sees them, and a first process
//! that waits for the order to start. It costs some 3 ms of work. One thread keeps a small number of slots ready. A slot is
//! used once, and what it consists of goes away with the sandbox.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::about::{About, Files};
use super::cgroup::{CgroupError, Cgroups};
use super::idrange::{IdRanges, supervisor_id};
use super::launcher::{Holding, Launcher, LauncherError, NamespaceMaker};
use super::plan::{self, PlanSettings};
use crate::model::SandboxId;
use crate::proto;
use crate::sys::{self, MountAttr, SyscallError, TreeSource};

/// How long a create waits for a slot when none is ready: many times what making one takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A sandbox is busiest in its first moments, and in its last.
const REST: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Slot {
    /// The sandbox's id: cgroups and host name have it already.
    pub id: SandboxId,
    pub base: u32,
    /// The directory of unpacked layers, mounted detached and read-only, its ids shifted into the range.
    pub layers: OwnedFd,
    /// The same for the skeleton that is laid over every root.
    pub skeleton: OwnedFd,
    /// What the sandbox finds about itself in its `/etc`.
    pub about: About,
    /// The network namespace.
    pub network: OwnedFd,
    /// The first process. It may still be preparing itself; orders wait for it.
    pub holding: Holding,
    pub nonce: String,
}

/// Connects network namespaces to what is outside of them.
pub trait Wire: Send + Sync + std::fmt::Debug {
    /// Nothing has run in the namespace yet. After an error nothing of it stays.
    ///
    /// # Errors
    /// What failed, for people.
    fn attach(&self, id: &SandboxId, namespace: BorrowedFd<'_>) -> Result<(), String>;

    /// What the sandbox is told of its network, in files.
    fn files(&self, id: &SandboxId) -> Files;

    /// Takes away what [`attach`](Self::attach) made, as often as it is asked to.
    fn detach(&self, id: &SandboxId);
}

/// What slots are made with.
#[derive(Debug)]
pub struct SlotMaker {
    pub program: PathBuf,
    pub dirs: LayerDirs,
    pub ranges: Arc<IdRanges>,
    pub cgroups: Arc<Cgroups>,
    pub launcher: Arc<Launcher>,
    pub network: Arc<dyn Wire>,
    pub settings: PlanSettings,
    /// Hidden paths that depend on this host's CPUs.
    pub extra_masked: Vec<String>,
}

#[derive(Debug, Clone, Error)]
pub enum SlotError {
    #[error("reserve an id range: all of them are in use; delete sandboxes that are no longer needed")]
    NoRange,
    #[error("prepare a sandbox: {0}")]
    Make(String),
}

impl From<LauncherError> for SlotError {
    fn from(error: LauncherError) -> Self {
        Self::Make(error.to_string())
    }
}

impl From<CgroupError> for SlotError {
    fn from(error: CgroupError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::Make(format!("{error}{cause}"))
    }
}

impl From<SyscallError> for SlotError {
    fn from(error: SyscallError) -> Self {
        Self::Make(error.to_string())
    }
}

/// Where the layers are.
#[derive(Debug, Clone)]
pub struct LayerDirs {
    pub layers: PathBuf,
    pub skeleton: PathBuf,
}

#[derive(Debug)]
pub struct Slots {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    ready: Mutex<Ready>,
    /// Told when a slot was put in, when one was taken, and at the end.
    changed: Condvar,
    maker: SlotMaker,
    target: usize,
}

/// A slot that is to have this id and this range.
#[derive(Debug, Clone)]
struct Ordered {
    id: SandboxId,
    base: u32,
    on_host: bool,
}

#[derive(Debug, Default)]
struct Ready {
    /// The oldest last: it is the one that is taken, because its first process has had the most time.
    slots: Vec<Slot>,
    /// The ids of all slots that are being made, are ready, or were taken and not given up yet.
    ids: HashSet<SandboxId>,
    /// Creates that wait for a slot.
    waiting: usize,
    /// Slots that are made to order.
    ordered: Vec<Ordered>,
    delivered: HashMap<SandboxId, Result<Slot, SlotError>>,
    /// When a sandbox began, or began to end.
    last_busy: Option<Instant>,
    /// Mounts that nobody needs any more. To close one takes the time in which every processor leaves what it is at (RCU).
    spent: Vec<OwnedFd>,
    failure: Option<SlotError>,
    closed: bool,
}

impl Ready {
    fn pop(&mut self) -> Option<Slot> {
        self.last_busy = Some(Instant::now());
        self.slots.pop()
    }

    /// Whether a slot is to be made. After a failure none is, until somebody waits for one.
    fn wants(&self, target: usize) -> bool {
        let tried = self.failure.is_some() && self.waiting == 0;
        !self.ordered.is_empty() || (self.slots.len() < target && !tried)
    }

    /// How long to leave the processors to the sandbox that begins or ends, while enough others are ready.
    fn rest(&self, target: usize) -> Option<Duration> {
        if self.closed || self.waiting > 0 || !self.ordered.is_empty() || self.slots.len() <= target / 2 {
            return None;
        }
        let since = self.last_busy?.elapsed();
        REST.checked_sub(since).filter(|rest| !rest.is_zero())
    }
}

impl Slots {
    /// Starts the thread that keeps `target` slots ready.
    pub fn start(maker: SlotMaker, target: usize) -> Result<Self, SlotError> {
        let namespaces = NamespaceMaker::start(&maker.program)?;
        let ready = Mutex::default();
        let shared = Arc::new(Shared { ready, changed: Condvar::new(), maker, target: target.max(1) });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("slots".into()).spawn(move || theirs.refill(namespaces));
        let thread = thread.map_err(|error| SlotError::Make(error.to_string()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Takes a slot that is ready.
    #[must_use]
    pub fn take_ready(&self) -> Option<Slot> {
        let slot = self.shared.lock().pop();
        self.shared.changed.notify_all();
        slot
    }

    /// Takes a slot; waits for one when none is ready. Blocks.
    pub fn take(&self) -> Result<Slot, SlotError> {
        let shared = &self.shared;
        let start = Instant::now();
        let mut ready = shared.lock();
        ready.waiting += 1;
        ready.failure = None;
        // Once: those who wait would wake each other without end.
        shared.changed.notify_all();
        let taken = loop {
            if let Some(slot) = ready.pop() {
                break Ok(slot);
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            let failure = ready.failure.clone();
            if failure.is_some() || left.is_zero() {
                break Err(failure.unwrap_or_else(|| SlotError::Make("none was ready in time".into())));
            }
            ready = shared.changed.wait_timeout(ready, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        ready.waiting -= 1;
        drop(ready);
        shared.changed.notify_all();
        taken
    }

    /// Has a slot made with an id and a range that the caller has, of a sandbox that was recorded by an earlier daemon. Nothing of
    /// that id may be on the host. Blocks.
    pub fn take_with(&self, id: &SandboxId, base: u32) -> Result<Slot, SlotError> {
        self.order(Ordered { id: id.clone(), base, on_host: false })
    }

    /// Makes a slot that was taken anew, in the host's own network namespace: the first process of the old one is in another,
    /// and what it has mounted shows that. Blocks.
    pub fn move_to_host(&self, slot: Slot) -> Result<Slot, SlotError> {
        let (id, base) = (slot.id.clone(), slot.base);
        self.shared.maker.take_down(&id);
        drop(slot);
        self.order(Ordered { id, base, on_host: true })
    }

    fn order(&self, order: Ordered) -> Result<Slot, SlotError> {
        let shared = &self.shared;
        let id = &order.id;
        let start = Instant::now();
        let mut ready = shared.lock();
        ready.ordered.push(order.clone());
        shared.changed.notify_all();
        loop {
            if let Some(made) = ready.delivered.remove(id) {
                return made;
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            let is_waiting = ready.ordered.iter().any(|ordered| ordered.id == *id);
            if left.is_zero() && is_waiting {
                ready.ordered.retain(|ordered| ordered.id != *id);
                return Err(SlotError::Make("none was made in time".into()));
            }
            // One that is being made is waited for: it comes, or fails.
            let nap = left.max(Duration::from_millis(100));
            ready = shared.changed.wait_timeout(ready, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether this is the id of a slot, so that what the host has by that name is ours.
    #[must_use]
    pub fn knows(&self, id: &SandboxId) -> bool {
        self.shared.lock().ids.contains(id)
    }

    /// A slot that was taken became a sandbox, with a record of its own; or that sandbox ends.
    pub fn used(&self, id: &SandboxId) {
        let mut ready = self.shared.lock();
        ready.ids.remove(id);
        ready.last_busy = Some(Instant::now());
    }

    /// Has mounts closed when nobody waits for anything.
    pub fn put_away(&self, mounts: impl IntoIterator<Item = OwnedFd>) {
        self.shared.lock().spent.extend(mounts);
        self.shared.changed.notify_all();
    }

    /// Takes apart a slot that was taken and is not needed.
    pub fn discard(&self, slot: Slot) {
        self.shared.discard(slot);
    }

    /// Takes all slots apart and makes no more.
    pub fn close(&self) {
        let slots = {
            let mut ready = self.shared.lock();
            ready.closed = true;
            std::mem::take(&mut ready.slots)
        };
        self.shared.changed.notify_all();
        slots.into_iter().for_each(|slot| self.shared.discard(slot));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that prepares sandboxes panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refill(&self, mut namespaces: NamespaceMaker) {
        while self.wait_for_need() {
            if !self.clear_away() {
                continue;
            }
            let ordered = self.lock().ordered.pop();
            if let Some(order) = ordered {
                self.deliver(&namespaces, order);
                continue;
            }
            let id = SandboxId::random();
            self.lock().ids.insert(id.clone());
            match self.maker.make(&namespaces, &id) {
                Ok(slot) => self.put(slot),
                Err(error) => {
                    tracing::error!(%error, "preparing a sandbox failed");
                    let mut ready = self.lock();
                    ready.ids.remove(&id);
                    ready.failure = Some(error);
                    drop(ready);
                    self.changed.notify_all();
                    if let Ok(fresh) = NamespaceMaker::start(&self.maker.program) {
                        namespaces = fresh;
                    }
                }
            }
        }
    }

    /// Closes what is spent, unless somebody waits for a slot; whether one is wanted.
    fn clear_away(&self) -> bool {
        let mut ready = self.lock();
        let wanted = ready.wants(self.target);
        let spent = if wanted && ready.waiting > 0 { Vec::new() } else { std::mem::take(&mut ready.spent) };
        drop(ready);
        drop(spent);
        wanted
    }

    /// The range is the caller's, whether this fails or not.
    fn deliver(&self, namespaces: &NamespaceMaker, order: Ordered) {
        let Ordered { id, base, on_host } = order;
        let made = self.maker.make_in(namespaces, &id, base, on_host);
        if made.is_err() {
            self.maker.take_down(&id);
        }
        self.lock().delivered.insert(id, made);
        self.changed.notify_all();
    }

    /// False at the end. After a failure the next try waits for the next create, which then hears of it.
    fn wait_for_need(&self) -> bool {
        let enough = |ready: &mut Ready| !ready.closed && ready.spent.is_empty() && !ready.wants(self.target);
        let mut ready = self.changed.wait_while(self.lock(), enough).unwrap_or_else(PoisonError::into_inner);
        while let Some(rest) = ready.rest(self.target) {
            ready = self.changed.wait_timeout(ready, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        !ready.closed
    }

    fn put(&self, slot: Slot) {
        let mut ready = self.lock();
        if ready.closed {
            drop(ready);
            return self.discard(slot);
        }
        ready.slots.insert(0, slot);
        drop(ready);
        self.changed.notify_all();
    }

    fn discard(&self, slot: Slot) {
        self.maker.unmake(&slot.id, slot.base);
        self.lock().ids.remove(&slot.id);
    }
}

impl SlotMaker {
    fn make(&self, namespaces: &NamespaceMaker, id: &SandboxId) -> Result<Slot, SlotError> {
        let base = self.ranges.reserve().ok_or(SlotError::NoRange)?;
        let made = self.make_in(namespaces, id, base, false);
        if made.is_err() {
            self.unmake(id, base);
        }
        made
    }

    fn make_in(
        &self,
        namespaces: &NamespaceMaker,
        id: &SandboxId,
        base: u32,
        on_host: bool,
    ) -> Result<Slot, SlotError> {
        let mut namespaces = namespaces.make(base)?;
        if on_host {
            namespaces.network = own_network()?;
        } else {
            self.network.attach(id, namespaces.network.as_fd()).map_err(SlotError::Make)?;
        }
        let layers = shifted(&self.dirs.layers, &namespaces.user)?;
        let skeleton = shifted(&self.dirs.skeleton, &namespaces.user)?;
        let about = About::make(base, self.network.files(id))?;
        let cgroups = self.cgroups.prepare(id, supervisor_id(base))?;
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let plan = plan::seed(id, base, &nonce, self.settings, &self.extra_masked);
        let plan = sys::memfd(c"seed-plan", &proto::encode(&plan))?;
        let fds = [&plan, &namespaces.user, &namespaces.network, &cgroups.own, &cgroups.workload];
        let fds: Vec<BorrowedFd<'_>> = fds.into_iter().chain(&cgroups.joins).map(AsFd::as_fd).collect();
        let holding = self.launcher.launch(id, &fds)?;
        Ok(Slot { id: id.clone(), base, layers, skeleton, about, network: namespaces.network, holding, nonce })
    }

    /// Removes what a slot has. What cannot be removed now is swept by the next daemon.
    fn unmake(&self, id: &SandboxId, base: u32) {
        self.take_down(id);
        self.ranges.release(base);
    }

    fn take_down(&self, id: &SandboxId) {
        let removed = self.cgroups.kill(id).and_then(|()| self.cgroups.remove(id)).map_err(SlotError::from);
        let forgotten = self.launcher.forget(id).map_err(SlotError::from);
        if let Err(error) = removed.and(forgotten) {
            tracing::error!(%error, sandbox.id = %id, "taking apart a prepared sandbox failed");
        }
        self.network.detach(id);
    }
}

/// The network namespace of this process. It belongs to the host's user namespace: no capability of a sandbox counts in it.
fn own_network() -> Result<OwnedFd, SyscallError> {
    const PATH: &str = "/proc/self/ns/net";
    sys::told(File::open(PATH), || format!("open({PATH})")).map(OwnedFd::from)
}

/// A detached read-only mount of `dir` whose ids are shifted into the namespace's range.
fn shifted(dir: &Path, user_namespace: &OwnedFd) -> Result<OwnedFd, SyscallError> {
    let opened = sys::told(File::open(dir), || format!("open({})", dir.display()))?;
    let mount = sys::clone_tree(TreeSource::Fd(opened.as_fd()))?;
    let attributes = MountAttr::READ_ONLY.and(MountAttr::NO_DEV);
    sys::idmap_mount(mount.as_fd(), user_namespace.as_fd(), attributes)?;
    Ok(mount)
}
