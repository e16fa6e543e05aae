//! The clocks of the pretended host. They follow the runtime's clock, which a test can pause, and what a test sets.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::lock;
use super::world::World;

#[derive(Debug)]
pub(super) struct Clock {
    world: Arc<Mutex<World>>,
    began: Instant,
    boot_nanos_then: u64,
}

impl Clock {
    pub fn start(world: Arc<Mutex<World>>) -> Self {
        // Where the last daemon looked at the clock last: each test runtime has a time of its own.
        let boot_nanos_then = lock(&world).last_boot_nanos;
        Self { world, began: Instant::now(), boot_nanos_then }
    }

    pub fn boot_nanos(&self) -> u64 {
        let elapsed = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut world = lock(&self.world);
        let awake = self.boot_nanos_then.saturating_add(elapsed);
        world.last_boot_nanos = world.last_boot_nanos.max(awake);
        awake.saturating_add(world.slept_nanos)
    }

    pub fn unix_nanos(&self) -> i64 {
        let boot = i64::try_from(self.boot_nanos()).unwrap_or(i64::MAX);
        boot.saturating_add(lock(&self.world).wall_minus_boot)
    }
}
