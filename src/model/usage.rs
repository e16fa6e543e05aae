//! What a sandbox uses at one moment, as the kernel counts it for the sandbox alone.

/// One reading. `None` is what this host does not count, or does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// `CLOCK_BOOTTIME` in nanoseconds when it was read.
    pub boot_nanos: u64,
    pub cpu: CpuUsage,
    pub memory: MemoryUsage,
    pub pids: PidsUsage,
    pub io: Option<IoUsage>,
    pub disk: Option<DiskUsage>,
    pub network: Option<NetworkUsage>,
    pub host: HostSize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// CPU time so far, in microseconds.
    pub used_micros: Option<u64>,
    /// Thousandths of a CPU that it may use.
    pub quota_millis: Option<u64>,
    pub throttling: Option<Throttling>,
}

/// How often the quota was used up (`cpu.stat`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_micros: u64,
}

/// All in bytes, but for the kills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    pub current: Option<u64>,
    /// The part of `current` that the kernel takes back first: file pages that were not used lately.
    pub inactive_file: Option<u64>,
    pub peak: Option<u64>,
    pub limit: Option<u64>,
    /// Processes that were killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PidsUsage {
    pub current: Option<u64>,
    pub limit: Option<u64>,
}

/// What went to and came from block devices; what the page cache answered is not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoUsage {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// What the sandbox wrote over its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub bytes: u64,
    pub inodes: u64,
    /// False when there was too much to count: then it is more.
    pub complete: bool,
}

/// What went over the network since the sandbox has one, as the rules of this host count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// Everything that the sandbox sent, and what of it was refused.
    pub sent: Traffic,
    pub received: Traffic,
    pub refused: Traffic,
    /// The packets that were refused, in the order of [`Refusal::ALL`].
    pub by_reason: [u64; Refusal::ALL.len()],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
}

/// Why a packet of a sandbox was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its source was not the sandbox's address.
    Address,
    /// It was for the host.
    Host,
    /// It was for another sandbox.
    Sandbox,
    /// It was for a range that is closed, or for a neighbour of the host.
    Range,
    /// It belonged to no connection that the host knows of.
    State,
    /// It would have begun a connection too many.
    Connections,
    /// Its policy does not allow it.
    Policy,
}

impl Refusal {
    pub const ALL: [Self; 7] =
        [Self::Address, Self::Host, Self::Sandbox, Self::Range, Self::State, Self::Connections, Self::Policy];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Host => "host",
            Self::Sandbox => "sandbox",
            Self::Range => "range",
            Self::State => "state",
            Self::Connections => "connections",
            Self::Policy => "policy",
        }
    }
}

impl NetworkUsage {
    /// The packets that were refused, with the reason.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().zip(self.by_reason)
    }
}

/// What there is to use when nothing is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostSize {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

impl Default for HostSize {
    /// One CPU, so that nothing is ever divided by none.
    fn default() -> Self {
        Self { cpu_millis: 1000, memory_bytes: 0 }
    }
}

impl Usage {
    /// Thousandths of a CPU that the sandbox can use at most; never 0.
    #[must_use]
    pub fn cpu_millis(&self) -> u64 {
        let host = self.host.cpu_millis.max(1);
        self.cpu.quota_millis.map_or(host, |quota| quota.clamp(1, host))
    }

    /// Bytes of memory that the sandbox can use at most.
    #[must_use]
    pub fn memory_total(&self) -> u64 {
        self.memory.limit.unwrap_or(u64::MAX).min(self.host.memory_bytes)
    }

    /// The working set: what cannot be had back without a loss. Never more than [`memory_total`](Self::memory_total).
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        let current = self.memory.current.unwrap_or(0);
        current.saturating_sub(self.memory.inactive_file.unwrap_or(0)).min(self.memory_total())
    }

    /// The share of [`cpu_millis`](Self::cpu_millis) that was used between two readings, 0 to 1. `None` when no time passed
    /// between them, or nobody counts.
    #[must_use]
    pub fn cpu_share_since(&self, earlier: &Self) -> Option<f64> {
        let nanos = self.boot_nanos.checked_sub(earlier.boot_nanos).filter(|nanos| *nanos > 0)?;
        let used = self.cpu.used_micros?.saturating_sub(earlier.cpu.used_micros?);
        // Microseconds times 10^6 over nanoseconds are thousandths of a CPU.
        let millis = used as f64 * 1e6 / nanos as f64;
        Some((millis / self.cpu_millis() as f64).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(quota: Option<u64>, limit: Option<u64>) -> Usage {
        Usage {
            cpu: CpuUsage { used_micros: Some(1_000_000), quota_millis: quota, throttling: None },
            memory: MemoryUsage { current: Some(300), inactive_file: Some(100), limit, ..MemoryUsage::default() },
            host: HostSize { cpu_millis: 2000, memory_bytes: 1000 },
            boot_nanos: 5_000_000_000,
            ..Usage::default()
        }
    }

    #[test]
    fn what_is_not_limited_is_the_hosts() {
        let free = usage(None, None);
        assert_eq!((free.cpu_millis(), free.memory_total(), free.memory_used()), (2000, 1000, 200));
        let wide = usage(Some(64_000), Some(1 << 40));
        assert_eq!((wide.cpu_millis(), wide.memory_total()), (2000, 1000));
        let narrow = usage(Some(100), Some(150));
        assert_eq!((narrow.cpu_millis(), narrow.memory_total(), narrow.memory_used()), (100, 150, 150));
    }

    #[test]
    fn the_share_is_of_what_may_be_used() {
        let share = |quota, micros: u64, nanos| {
            let earlier = usage(quota, None);
            let mut later = earlier.clone();
            later.cpu.used_micros = Some(1_000_000 + micros);
            later.boot_nanos += nanos;
            later.cpu_share_since(&earlier)
        };
        assert_eq!(share(Some(1000), 500_000, 1_000_000_000), Some(0.5));
        assert_eq!(share(Some(500), 500_000, 1_000_000_000), Some(1.0));
        assert_eq!(share(None, 500_000, 1_000_000_000), Some(0.25));
        assert_eq!(share(Some(500), 900_000, 1_000_000_000), Some(1.0), "a quota may be overrun for a moment");
        assert_eq!(share(Some(500), 0, 0), None);
    }
}
