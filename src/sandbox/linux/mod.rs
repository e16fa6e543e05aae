//! The host that the daemon runs on: how a sandbox is made, found again and removed, in the field's own steps.

mod config;
mod dirs;
mod disk;
mod etc;
mod exec;
mod fetch;
mod layer;
mod memory;
mod network;
mod ports;
mod proof;
mod provision;
mod room;
mod tree;
mod unmounts;
mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub use config::LinuxConfig;

use self::dirs::SandboxDirs;
use self::disk::Disks;
use self::network::Network;
use self::proof::Proof;
use self::unmounts::Unmounts;

use super::ConnectError;
use super::execution::{ExecError, FoundExecution, Order, Process, Started};
use super::fetch::{Fetch, Presence};
use super::host::{End, Host, HostError, IdBase, Launched, Life, Reservation};
use crate::guest::{Guest, GuestError};
use crate::image::{ImageError, ImageStore, Puller};
use crate::model::{Exit, NetworkOffer, NetworkPolicy, Reason, SandboxId, SandboxSpec, Usage, with_causes};
use crate::network::{BridgeError, ResolverError};
use crate::proto::{FailureKind, StepFailure};
use crate::runtime::cgroup::{CgroupError, Cgroups};
use crate::runtime::disk as bounded;
use crate::runtime::idrange::IdRanges;
use crate::runtime::launcher::{Launcher, LauncherError};
use crate::runtime::root::Way;
use crate::runtime::slots::{LayerDirs, Slot, SlotError, SlotMaker, Slots, Wire};
use crate::runtime::sockets::Sockets;
use crate::sys;

/// What stands in the way of running any sandbox here.
#[derive(Debug, Error)]
pub enum LinuxError {
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    #[error(transparent)]
    Slots(#[from] SlotError),
    #[error(transparent)]
    Network(#[from] BridgeError),
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    #[error("{0}")]
    Directory(String),
}

/// The real [`Host`].
#[derive(Debug)]
pub struct LinuxHost {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: LinuxConfig,
    dirs: SandboxDirs,
    disks: Disks,
    boot_id: String,
    images: Arc<ImageStore>,
    puller: Puller,
    cgroups: Arc<Cgroups>,
    launcher: Arc<Launcher>,
    ranges: Arc<IdRanges>,
    network: Arc<Network>,
    slots: Slots,
    way: Way,
    sockets: Sockets,
    /// Slots between `reserve` and `launch`.
    reserved: Mutex<HashMap<IdBase, Slot>>,
    living: Mutex<HashMap<SandboxId, Arc<Guest>>>,
    /// Kills for want of memory that some command has told of.
    told_kills: Mutex<HashMap<SandboxId, u64>>,
    bounded_disks: bounded::Disks,
    /// Each disk that is bounded, to ask how full it is.
    bounded: Mutex<HashMap<SandboxId, bounded::Disk>>,
    unmounts: Unmounts,
}

impl LinuxHost {
    /// Finds or starts the launcher, prepares the first slots. `taken` are the id ranges of every record: no slot may
    /// be prepared with one of them. Blocks.
    pub fn start(
        config: LinuxConfig,
        (images, puller): (Arc<ImageStore>, Puller),
        taken: &[IdBase],
    ) -> Result<Self, LinuxError> {
        let directory = |error: std::io::Error| LinuxError::Directory(error.to_string());
        let dirs = SandboxDirs::open(&config.state_dir).map_err(directory)?;
        let skeleton = dirs::make_skeleton(&config.state_dir).map_err(directory)?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(directory)?;
        let cgroups = Arc::new(Cgroups::open(&config.cgroup_parent, config.refuse_unenforceable, &config.state_dir)?);
        if config.go_first {
            cgroups.go_first();
        }
        let launcher = Arc::new(Launcher::connect(&config.init, &config.run_dir)?);
        let ranges = Arc::new(IdRanges::of_host());
        taken.iter().for_each(|base| ranges.claim(*base));
        let network = Arc::new(Network::open(config.network.clone(), config.allow_host_network)?);
        let layers = LayerDirs { layers: images.layers_dir().to_owned(), skeleton };
        let maker = SlotMaker {
            program: config.init.clone(),
            dirs: layers,
            ranges: Arc::clone(&ranges),
            cgroups: Arc::clone(&cgroups),
            launcher: Arc::clone(&launcher),
            network: Arc::clone(&network) as Arc<dyn Wire>,
            settings: config.settings,
            extra_masked: dirs::thermal_paths(),
        };
        let slots = Slots::start(maker, config.slots)?;
        let way = provision::find_way(&config, &slots, &dirs)?;
        let sockets = Sockets::start().map_err(directory)?;
        let bounded_disks = bounded_disks(&config, &dirs).map_err(directory)?;
        let inner = Inner {
            boot_id: boot_id.trim().to_owned(),
            reserved: Mutex::default(),
            living: Mutex::default(),
            sockets,
            told_kills: Mutex::default(),
            bounded_disks,
            bounded: Mutex::default(),
            unmounts: Unmounts::default(),
            disks: Disks::default(),
            config,
            dirs,
            images,
            puller,
            cgroups,
            launcher,
            ranges,
            network,
            slots,
            way,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What sandboxes have of a network here.
    #[must_use]
    pub fn network(&self) -> &NetworkOffer {
        self.inner.network.offer()
    }

    /// Runs kernel and file work on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let inner = Arc::clone(&self.inner);
        let joined = tokio::task::spawn_blocking(move || work(&inner)).await;
        joined.unwrap_or_else(|panic| Err(failed(Reason::StartFailed, &panic)))
    }

    fn guest(&self, id: &SandboxId) -> Option<Arc<Guest>> {
        self.inner.living().get(id).cloned()
    }

    /// The cgroups are killed next; this reaches a sandbox that was moved out of them. Returns its disk.
    fn kill(&self, id: &SandboxId) -> Option<bounded::Disk> {
        self.inner.disks.forget(id);
        self.inner.told_kills().remove(id);
        let disk = self.inner.bounded().remove(id);
        if let Some(guest) = self.inner.living().remove(id)
            && let Err(error) = guest.kill()
        {
            tracing::warn!(%error, sandbox.id = %id, "PID 1 could not be killed");
        }
        disk
    }

    /// Ends it and removes what it has. Its disk is held meanwhile: whoever lets go of it last waits until it is unmounted,
    /// and that shall not be a process whose end is waited for.
    async fn end(&self, id: &SandboxId, base: IdBase, logs: dirs::Logs) -> Result<(), HostError> {
        let disk = self.kill(id);
        let id = id.clone();
        let removed = self.blocking(move |inner| provision::remove(inner, &id, base, logs)).await;
        if let Some(disk) = disk {
            self.inner.unmounts.let_go(disk);
        }
        removed
    }

    fn lives(&self, id: &SandboxId, guest: Guest, proof: String, notes: Vec<String>) -> Launched {
        let guest = Arc::new(guest);
        guest.listen();
        self.inner.living().insert(id.clone(), Arc::clone(&guest));
        let life = LinuxLife { id: id.clone(), guest, inner: Arc::clone(&self.inner), end: None };
        Launched { proof, notes, life: Box::new(life) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.slots.close();
        self.bounded_disks.close();
        self.cgroups.close();
    }
}

impl Inner {
    fn living(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Arc<Guest>>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bounded(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, bounded::Disk>> {
        self.bounded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told_kills(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, u64>> {
        self.told_kills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserved(&self) -> std::sync::MutexGuard<'_, HashMap<IdBase, Slot>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Host for LinuxHost {
    fn boot_id(&self) -> &str {
        &self.inner.boot_id
    }

    fn boot_nanos(&self) -> u64 {
        sys::boot_nanos()
    }

    fn unix_nanos(&self) -> i64 {
        sys::unix_nanos()
    }

    async fn check_image(&self, image: &str, fetch: &Fetch) -> Result<Presence, HostError> {
        self.inner.presence(image, fetch)
    }

    async fn check_room(&self) -> Result<(), String> {
        let check = || room::check(&self.inner.config.state_dir, self.inner.config.min_free_disk);
        match check() {
            // What was deleted a moment ago may still be there.
            Err(_) if self.inner.unmounts.wait().await => check(),
            told => told,
        }
    }

    async fn fetch_image(
        &self,
        id: &SandboxId,
        image: &str,
        fetch: Fetch,
        tell: watch::Sender<String>,
    ) -> Result<(), HostError> {
        self.inner.fetch(id, image, fetch, tell).await
    }

    async fn reserve(&self) -> Result<Reservation, HostError> {
        let slot = match self.inner.slots.take_ready() {
            Some(slot) => slot,
            None => {
                self.blocking(|inner| inner.slots.take().map_err(|error| failed(Reason::StartFailed, &error))).await?
            }
        };
        let reservation = Reservation { id: slot.id.clone(), base: slot.base };
        self.inner.reserved().insert(slot.base, slot);
        Ok(reservation)
    }

    fn claim(&self, base: IdBase) {
        self.inner.ranges.claim(base);
    }

    fn release(&self, base: IdBase) {
        let unused = self.inner.reserved().remove(&base);
        match unused {
            Some(slot) => self.inner.slots.discard(slot),
            None => self.inner.ranges.release(base),
        }
    }

    async fn launch(&self, id: &SandboxId, base: IdBase, spec: &SandboxSpec) -> Result<Launched, HostError> {
        let (own_id, spec) = (id.clone(), spec.clone());
        let born = self.blocking(move |inner| provision::provision(inner, &own_id, base, &spec)).await?;
        let guest = Guest::new(born.pidfd, born.control).map_err(guest_failed)?;
        guest.ready().await.map_err(guest_failed)?;
        Ok(self.lives(id, guest, born.proof.to_text(), born.notes))
    }

    async fn adopt(&self, id: &SandboxId, _base: IdBase, proof: &str) -> Result<Launched, HostError> {
        let proof = Proof::from_text(proof).map_err(|error| failed(Reason::Lost, &error))?;
        let (own_id, expected) = (id.clone(), proof.clone());
        let (holding, frozen) = self.blocking(move |inner| provision::find_again(inner, &own_id, &expected)).await?;
        let guest = Guest::new(holding.pidfd, holding.control).map_err(guest_failed)?;
        // A frozen PID 1 answers when it is thawed; its process id, start time and descriptor were checked already.
        if frozen {
            guest.prove_later(&proof.nonce).map_err(guest_failed)?;
        } else {
            guest.prove(&proof.nonce).await.map_err(guest_failed)?;
        }
        Ok(self.lives(id, guest, proof.to_text(), Vec::new()))
    }

    async fn set_policy(&self, id: &SandboxId, policy: Option<&NetworkPolicy>) -> Result<(), HostError> {
        let (id, policy) = (id.clone(), policy.cloned());
        self.blocking(move |inner| inner.network.govern(&id, policy.as_ref())).await
    }

    async fn freeze(&self, id: &SandboxId) -> Result<(), HostError> {
        let id = id.clone();
        self.blocking(move |inner| inner.cgroups.freeze(&id).map_err(|error| failed(Reason::PauseFailed, &error))).await
    }

    async fn thaw(&self, id: &SandboxId) -> Result<(), HostError> {
        let id = id.clone();
        self.blocking(move |inner| inner.cgroups.thaw(&id).map_err(|error| failed(Reason::ResumeFailed, &error))).await
    }

    async fn is_frozen(&self, id: &SandboxId) -> Result<bool, HostError> {
        self.inner.cgroups.is_frozen(id).map_err(|error| failed(Reason::Lost, &error))
    }

    async fn signal(&self, id: &SandboxId, signal: i32) -> Result<(), HostError> {
        let gone = || HostError { reason: Reason::Lost, message: format!("signal sandbox {id}: it is not running") };
        self.guest(id).ok_or_else(gone)?.signal(signal).map_err(guest_failed)
    }

    fn seen_output(&self, id: &SandboxId, offset: u64) {
        // One that is not reached now is told again soon.
        drop(self.guest(id).map(|guest| guest.seen_output(offset)));
    }

    async fn usage(&self, id: &SandboxId) -> Result<Usage, HostError> {
        self.usage_of(id).await
    }

    fn describe(
        &self,
        id: &SandboxId,
        base: Option<IdBase>,
        spec: &SandboxSpec,
        proof: Option<&str>,
    ) -> Vec<(String, String)> {
        self.description(id, base, spec, proof)
    }

    async fn process_defaults(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<Process, HostError> {
        exec::defaults(&self.inner, id, spec)
    }

    async fn exec(&self, id: &SandboxId, order: Order) -> Result<Started, ExecError> {
        exec::start(&self.inner, id, order).await
    }

    async fn executions(&self, id: &SandboxId) -> Result<Vec<FoundExecution>, ExecError> {
        exec::found(&self.inner, id).await
    }

    async fn connect(&self, id: &SandboxId, port: u16) -> Result<TcpStream, ConnectError> {
        ports::connect(&self.inner, self.guest(id), port).await
    }

    async fn listen(&self, id: &SandboxId, port: u16, backlog: u32) -> Result<TcpListener, ConnectError> {
        ports::listen(&self.inner, self.guest(id), port, backlog).await
    }

    async fn stop(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError> {
        self.end(id, base, dirs::Logs::Keep).await
    }

    async fn destroy(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError> {
        self.end(id, base, dirs::Logs::Remove).await
    }

    async fn sweep(&self, known: &[SandboxId]) -> Vec<String> {
        let known = known.to_vec();
        let swept = self.blocking(move |inner| Ok(provision::sweep(inner, &known))).await;
        swept.unwrap_or_else(|error| vec![format!("sweep: {error}")])
    }

    fn leave(&self) {
        self.inner.living().values().for_each(|guest| guest.leave());
    }
}

/// The living side of one sandbox.
#[derive(Debug)]
struct LinuxLife {
    id: SandboxId,
    guest: Arc<Guest>,
    inner: Arc<Inner>,
    end: Option<End>,
}

#[async_trait]
impl Life for LinuxLife {
    async fn ended(&mut self) -> End {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let exit = self.guest.ended().await;
        let oom = memory::of_entrypoint(&self.inner, &self.id, exit);
        let end = End { exit: exit.unwrap_or(Exit::Unknown), oom, lost: exit.is_none() };
        self.end = Some(end.clone());
        end
    }
}

/// With some of the default size ahead, so that no create need wait for one.
fn bounded_disks(config: &LinuxConfig, dirs: &SandboxDirs) -> std::io::Result<bounded::Disks> {
    let default = layer::bounds(&config.default_limits).size();
    bounded::Disks::start(&config.state_dir, dirs.root(), config.disks, default)
}

fn failed(reason: Reason, error: &dyn std::error::Error) -> HostError {
    HostError { reason, message: with_causes(error) }
}

fn image_failed(error: ImageError) -> HostError {
    failed(Reason::ImageNotFound, &error)
}

fn guest_failed(error: GuestError) -> HostError {
    match error {
        GuestError::Step(failure) => step_failed(&failure),
        other => failed(Reason::StartFailed, &other),
    }
}

fn step_failed(failure: &StepFailure) -> HostError {
    let reason = match failure.kind {
        FailureKind::NotFound => Reason::EntrypointNotFound,
        FailureKind::NotExecutable | FailureKind::WorkingDirectory | FailureKind::User => {
            Reason::EntrypointNotExecutable
        }
        FailureKind::Internal => Reason::StartFailed,
    };
    failed(reason, failure)
}
