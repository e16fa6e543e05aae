//! A host that is only pretended: resources are names in a map, processes end when a test says so.
//!
//! It keeps what a real host would keep while daemons come and go ([`restarted`](FakeHost::restarted),
//! [`rebooted`](FakeHost::rebooted)), and notes what a real host would not forgive
//! ([`violations`](FakeHost::violations)).

mod clock;
mod script;
mod world;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{End, Host, HostError, IdBase, Launched, Life};
use crate::model::{Exit, Reason, SandboxId, SandboxSpec};
use clock::Clock;
use script::Script;
use world::{Turn, World};

pub use script::{Behaviour, Step};

/// How many users and groups a sandbox has.
const RANGE: IdBase = 65_536;

/// One daemon's view of the pretended host.
#[derive(Debug)]
pub struct FakeHost {
    world: Arc<Mutex<World>>,
    script: Arc<Mutex<Script>>,
    clock: Clock,
    boot_id: String,
    /// Known to this daemon only: a new one learns it from its records.
    taken: Mutex<BTreeSet<IdBase>>,
}

impl FakeHost {
    /// An empty host on which everything works at once and every image is there.
    #[must_use]
    pub fn new() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        Self::on(world, Arc::default())
    }

    /// The same host for a new daemon, after the old one ended in whatever way.
    #[must_use]
    pub fn restarted(&self) -> Self {
        // The new one's clock goes on from what was read last.
        self.clock.boot_nanos();
        Self::on(Arc::clone(&self.world), Arc::clone(&self.script))
    }

    /// The same host for a new daemon, after a reboot: no process lives, and the boot clock began anew.
    #[must_use]
    pub fn rebooted(&self) -> Self {
        self.clock.boot_nanos();
        lock(&self.world).reboot();
        Self::on(Arc::clone(&self.world), Arc::clone(&self.script))
    }

    fn on(world: Arc<Mutex<World>>, script: Arc<Mutex<Script>>) -> Self {
        let boot_id = lock(&world).boot_id();
        Self { clock: Clock::start(Arc::clone(&world)), world, script, boot_id, taken: Mutex::default() }
    }

    /// Makes every call of a step take this long.
    pub fn delay(&self, step: Step, delay: Duration) {
        lock(&self.script).delay(step, delay);
    }

    /// Makes the next calls of a step fail; `usize::MAX` is for ever, 0 heals.
    pub fn fail(&self, step: Step, times: usize) {
        lock(&self.script).fail(step, times);
    }

    /// Asks this before each call on a sandbox, in place of [`delay`](Self::delay) and [`fail`](Self::fail).
    pub fn script(&self, script: impl FnMut(Step, &SandboxId) -> Behaviour + Send + 'static) {
        lock(&self.script).replace(Box::new(script));
    }

    /// Makes an image unknown.
    pub fn forget_image(&self, image: &str) {
        lock(&self.world).missing_images.insert(image.to_owned());
    }

    /// Ends a sandbox's entrypoint. Nothing happens when there is none.
    pub fn end(&self, id: &SandboxId, end: End) {
        lock(&self.world).end(id, end);
    }

    /// Ends a sandbox's entrypoint with an exit code.
    pub fn exit(&self, id: &SandboxId, code: i32) {
        self.end(id, End { exit: Exit::Code(code), oom_killed: false, lost: false });
    }

    /// Sets the wall clock forward or back.
    pub fn step_wall_clock(&self, nanos: i64) {
        lock(&self.world).wall_minus_boot += nanos;
    }

    /// Suspends the host: both clocks go on, timers do not notice.
    pub fn suspend(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut world = lock(&self.world);
        world.slept_nanos = world.slept_nanos.saturating_add(nanos);
    }

    /// Everything that sandboxes have on the host, as `id part`.
    #[must_use]
    pub fn left_over(&self) -> Vec<String> {
        lock(&self.world).parts()
    }

    /// The sandboxes that have processes.
    #[must_use]
    pub fn living(&self) -> Vec<SandboxId> {
        lock(&self.world).living()
    }

    /// Whether a sandbox's processes are frozen now.
    #[must_use]
    pub fn is_frozen_now(&self, id: &SandboxId) -> bool {
        lock(&self.world).is_frozen(id).unwrap_or(false)
    }

    /// The id ranges that this daemon has taken.
    #[must_use]
    pub fn taken_ranges(&self) -> usize {
        lock(&self.taken).len()
    }

    /// The signals that were sent to a sandbox, in order.
    #[must_use]
    pub fn signals(&self, id: &SandboxId) -> Vec<i32> {
        lock(&self.world).signals(id)
    }

    /// What a real host would not have forgiven.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.world).violations.clone()
    }

    /// A turn on a sandbox: as long as it is held, no other call on the sandbox is expected.
    fn turn(&self, step: Step, id: &SandboxId) -> Turn {
        let behaviour = lock(&self.script).next(step, id);
        assert!(!behaviour.panic, "the script says that {step:?} panics");
        Turn::take(&self.world, id, step, behaviour)
    }
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Host for FakeHost {
    fn boot_id(&self) -> &str {
        &self.boot_id
    }

    fn boot_nanos(&self) -> u64 {
        self.clock.boot_nanos()
    }

    fn unix_nanos(&self) -> i64 {
        self.clock.unix_nanos()
    }

    async fn check_image(&self, image: &str) -> Result<(), HostError> {
        if lock(&self.world).missing_images.contains(image) {
            return Err(HostError { reason: Reason::ImageNotFound, message: format!("find image {image}: not here") });
        }
        Ok(())
    }

    async fn reserve(&self) -> Result<IdBase, HostError> {
        let mut taken = lock(&self.taken);
        // The lowest that is free, so that ranges are used again as soon as they can be.
        let free = (1..60_000).map(|number| number * RANGE).find(|base| !taken.contains(base));
        let free = free.ok_or_else(|| HostError { reason: Reason::StartFailed, message: "no id range".to_owned() })?;
        taken.insert(free);
        Ok(free)
    }

    fn claim(&self, base: IdBase) {
        if !lock(&self.taken).insert(base) {
            lock(&self.world).violations.push(format!("range {base} was claimed twice"));
        }
    }

    fn release(&self, base: IdBase) {
        let mut world = lock(&self.world);
        if !lock(&self.taken).remove(&base) {
            world.violations.push(format!("range {base} was released and not taken"));
        }
        world.check_unused(base);
    }

    async fn launch(&self, id: &SandboxId, base: IdBase, _spec: &SandboxSpec) -> Result<Launched, HostError> {
        if !lock(&self.taken).contains(&base) {
            lock(&self.world).violations.push(format!("{id} was launched on range {base}, which is not taken"));
        }
        let turn = self.turn(Step::Launch, id);
        // One that fails fails half way, and leaves what it made.
        let parts = if turn.behaviour.fail.is_some() { &world::PARTS[..3] } else { &world::PARTS[..] };
        for part in parts {
            lock(&self.world).add(id, base, part);
            pass(turn.behaviour.delay / 6).await;
        }
        turn.verdict()?;
        lock(&self.world).launched(id)
    }

    async fn adopt(&self, id: &SandboxId, base: IdBase, proof: &str) -> Result<Launched, HostError> {
        let turn = self.turn(Step::Adopt, id);
        pass(turn.behaviour.delay).await;
        turn.verdict()?;
        lock(&self.world).adopt(id, base, proof)
    }

    async fn freeze(&self, id: &SandboxId) -> Result<(), HostError> {
        self.set_frozen(Step::Freeze, id, true).await
    }

    async fn thaw(&self, id: &SandboxId) -> Result<(), HostError> {
        self.set_frozen(Step::Thaw, id, false).await
    }

    async fn is_frozen(&self, id: &SandboxId) -> Result<bool, HostError> {
        let turn = self.turn(Step::IsFrozen, id);
        pass(turn.behaviour.delay).await;
        turn.verdict()?;
        lock(&self.world).is_frozen(id)
    }

    async fn signal(&self, id: &SandboxId, signal: i32) -> Result<(), HostError> {
        let behaviour = lock(&self.script).next(Step::Signal, id);
        pass(behaviour.delay).await;
        behaviour.fail.map_or_else(|| lock(&self.world).signal(id, signal), Err)
    }

    async fn stop(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError> {
        self.remove(Step::Stop, id, base, world::LOGS).await
    }

    async fn destroy(&self, id: &SandboxId, base: IdBase) -> Result<(), HostError> {
        self.remove(Step::Destroy, id, base, "").await
    }

    async fn sweep(&self, known: &[SandboxId]) -> Vec<String> {
        lock(&self.world).sweep(known)
    }
}

impl FakeHost {
    /// Half of the time passes before the kernel has done it and half after, as for a daemon killed at either point.
    async fn set_frozen(&self, step: Step, id: &SandboxId, frozen: bool) -> Result<(), HostError> {
        let turn = self.turn(step, id);
        pass(turn.behaviour.delay / 2).await;
        turn.verdict()?;
        lock(&self.world).set_frozen(id, frozen)?;
        pass(turn.behaviour.delay / 2).await;
        Ok(())
    }

    async fn remove(&self, step: Step, id: &SandboxId, base: IdBase, keep: &str) -> Result<(), HostError> {
        let turn = self.turn(step, id);
        let parts = world::PARTS.into_iter().rev().filter(|part| *part != keep);
        // One that fails has removed the processes and nothing else.
        for part in parts.take(if turn.behaviour.fail.is_some() { 1 } else { usize::MAX }) {
            lock(&self.world).remove(id, base, part);
            pass(turn.behaviour.delay / 6).await;
        }
        turn.verdict()
    }
}

/// The living side of a pretended sandbox.
struct FakeLife(watch::Receiver<Option<End>>);

#[async_trait]
impl Life for FakeLife {
    async fn ended(&mut self) -> End {
        let lost = End { exit: Exit::Unknown, oom_killed: false, lost: true };
        match self.0.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(lost),
            Err(_) => lost,
        }
    }
}

async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
