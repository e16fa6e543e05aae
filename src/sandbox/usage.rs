//! What sandboxes use, with the share of the CPU between two readings.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Denial;
use super::registry::Sandboxes;
use crate::model::{Phase, SandboxId, Usage};

/// Readings closer than this tell nothing about a share: the kernel's own accounting has that grain.
const LEAST_NANOS: u64 = 100_000_000;
/// A share over a longer time is not that of now.
const MOST_NANOS: u64 = 10_000_000_000;
/// How long the first who asks waits for a share.
const FIRST_SAMPLE: Duration = Duration::from_millis(110);

/// A reading, and how busy the sandbox was before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Metered {
    pub usage: Usage,
    /// Of the CPU time that it may use, 0 to 1; of the last tenth of a second to ten seconds.
    pub cpu_share: f64,
}

/// The last readings.
#[derive(Debug, Default)]
pub(super) struct Meters(Mutex<HashMap<SandboxId, Meter>>);

#[derive(Debug, Clone)]
struct Meter {
    reading: Usage,
    share: Option<f64>,
}

impl Sandboxes {
    /// What the sandbox uses now.
    ///
    /// # Errors
    /// When there is no such sandbox, or it has no processes, or the host failed.
    pub async fn usage(&self, id: &SandboxId) -> Result<Metered, Denial> {
        let usage = self.reading(id).await?;
        if let Some(cpu_share) = self.meters().share(id, &usage) {
            return Ok(Metered { usage, cpu_share });
        }
        tokio::time::sleep(FIRST_SAMPLE).await;
        let usage = self.reading(id).await?;
        // It may have ended while it was read, and then its counters are gone.
        let cpu_share = self.meters().share(id, &usage).unwrap_or(0.0);
        Ok(Metered { usage, cpu_share })
    }

    /// What the sandbox uses now, without the time that a share would take.
    ///
    /// # Errors
    /// As [`usage`](Self::usage).
    pub async fn reading(&self, id: &SandboxId) -> Result<Usage, Denial> {
        let not_found = || Denial::NotFound { id: id.to_string() };
        let (shared, seen) = self.reach(id).ok_or_else(not_found)?;
        let (phase, removed) = {
            let now = seen.borrow();
            (now.sandbox.status.phase, now.removed)
        };
        match phase {
            _ if removed => Err(not_found()),
            Phase::Running | Phase::Pausing | Phase::Paused | Phase::Resuming => Ok(shared.host.usage(id).await?),
            Phase::Terminated | Phase::Failed => Err(Denial::NotAlive { phase }),
            Phase::Pending | Phase::Stopping => Err(Denial::NotRunning { phase }),
        }
    }
}

impl Meters {
    /// The share since the last reading; `None` when there is none to compare with. Who asks again at once gets the share
    /// of before, so that many readers do not shorten each other's time.
    fn share(&self, id: &SandboxId, usage: &Usage) -> Option<f64> {
        let mut meters = self.lock();
        let Some(meter) = meters.get_mut(id) else {
            meters.insert(id.clone(), Meter { reading: usage.clone(), share: None });
            return None;
        };
        let age = usage.boot_nanos.saturating_sub(meter.reading.boot_nanos);
        if age < LEAST_NANOS {
            return meter.share;
        }
        let share = usage.cpu_share_since(&meter.reading).filter(|_| age <= MOST_NANOS);
        *meter = Meter { reading: usage.clone(), share };
        share
    }

    pub fn forget(&self, id: &SandboxId) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CpuUsage, HostSize};

    fn reading(millis: u64, used_millis: u64) -> Usage {
        Usage {
            boot_nanos: millis * 1_000_000,
            cpu: CpuUsage { used_micros: Some(used_millis * 1000), ..CpuUsage::default() },
            host: HostSize { cpu_millis: 1000, memory_bytes: 1 },
            ..Usage::default()
        }
    }

    #[test]
    fn a_share_is_of_a_time_that_tells_something() {
        let (meters, id) = (Meters::default(), SandboxId::random());
        assert_eq!(meters.share(&id, &reading(1000, 0)), None, "the first");
        assert_eq!(meters.share(&id, &reading(1050, 50)), None, "too soon");
        assert_eq!(meters.share(&id, &reading(2000, 500)), Some(0.5));
        assert_eq!(meters.share(&id, &reading(2050, 550)), Some(0.5), "the one before");
        assert_eq!(meters.share(&id, &reading(3000, 600)), Some(0.1), "counted from the last that told something");
        assert_eq!(meters.share(&id, &reading(60_000, 50_000)), None, "not of now");
        assert_eq!(meters.share(&id, &reading(61_000, 50_100)), Some(0.1));
        meters.forget(&id);
        assert_eq!(meters.share(&id, &reading(62_000, 51_000)), None);
    }
}
