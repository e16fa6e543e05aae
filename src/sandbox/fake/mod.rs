//! A host that is only pretended: resources are names in a map, processes end when a test says so.
//!
//! It keeps what a real host would keep while daemons come and go ([`restarted`](FakeHost::restarted),
//! [`rebooted`](FakeHost::rebooted)), and notes what a real host would not forgive
//! ([`violations`](FakeHost::violations)).

mod clock;
mod exec;
mod host;
mod script;
mod world;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{End, IdBase};
use crate::model::{Exit, NetworkPolicy, SandboxId, Usage};
use clock::Clock;
use script::Script;
use world::World;

pub use script::{Behaviour, Step};

/// One daemon's view of the pretended host.
#[derive(Debug)]
pub struct FakeHost {
    world: Arc<Mutex<World>>,
    script: Arc<Mutex<Script>>,
    clock: Clock,
    boot_id: String,
    processes: Arc<exec::Processes>,
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
        Self {
            clock: Clock::start(Arc::clone(&world)),
            world,
            script,
            boot_id,
            taken: Mutex::default(),
            processes: Arc::default(),
        }
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

    /// Says what a sandbox uses from now on; the time of a reading is the clock's.
    pub fn uses(&self, id: &SandboxId, usage: Usage) {
        lock(&self.script).uses(id, usage);
    }

    /// Makes an image unknown.
    pub fn forget_image(&self, image: &str) {
        lock(&self.world).missing_images.insert(image.to_owned());
    }

    /// Leaves no room on the disk for another sandbox, or some again.
    pub fn fill_disk(&self, full: bool) {
        lock(&self.world).full = full;
    }

    /// Makes an image one that must be fetched.
    pub fn move_image_away(&self, image: &str) {
        lock(&self.world).images_elsewhere.insert(image.to_owned());
    }

    /// Ends a sandbox's entrypoint. Nothing happens when there is none.
    pub fn end(&self, id: &SandboxId, end: End) {
        lock(&self.world).end(id, end);
    }

    /// Ends a sandbox's entrypoint with an exit code.
    pub fn exit(&self, id: &SandboxId, code: i32) {
        self.end(id, End { exit: Exit::Code(code), oom: None, lost: false });
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

    /// Whether the daemon said that it ends and the sandboxes stay.
    #[must_use]
    pub fn is_left(&self) -> bool {
        lock(&self.world).is_left
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

    /// What the host was told last about what a sandbox may reach.
    #[must_use]
    pub fn policy(&self, id: &SandboxId) -> Option<NetworkPolicy> {
        lock(&self.world).policies.get(id).cloned().flatten()
    }

    /// What a real host would not have forgiven.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.world).violations.clone()
    }
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
