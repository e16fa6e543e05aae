//! What sandboxes use, as it is on the wire. What a host does not count or does not limit is left out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::time;
use crate::model::{
    CpuUsage, DiskUsage, IoUsage, MemoryUsage, NetworkUsage, PidsUsage, SandboxId, Throttling, Traffic,
};
use crate::sandbox::Metered;

#[derive(Debug, Serialize)]
pub struct StatsList {
    pub items: Vec<StatsBody>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatsBody {
    pub sandbox_id: String,
    pub timestamp: String,
    pub cpu: CpuBody,
    pub memory: MemoryBody,
    pub pids: PidsBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<IoBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkBody>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuBody {
    /// How many CPUs it may use: its quota, or all that the host has.
    pub count: f64,
    /// Of those, 0 to 100.
    pub used_percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub periods: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_periods: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryBody {
    /// Its limit, or what the host has.
    pub total_bytes: u64,
    /// The working set: without file pages that were not used lately.
    pub used_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct PidsBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IoBody {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskBody {
    pub used_bytes: u64,
    pub used_inodes: u64,
    /// False when there was too much to count: then it is more.
    pub complete: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkBody {
    /// Everything, with what was refused of it.
    pub sent: TrafficBody,
    pub received: TrafficBody,
    pub refused: TrafficBody,
    /// Packets.
    pub refused_by_reason: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
pub struct TrafficBody {
    pub bytes: u64,
    pub packets: u64,
}

impl StatsBody {
    pub fn new(id: &SandboxId, metered: &Metered) -> Self {
        let Metered { usage, cpu_share } = metered;
        let CpuUsage { used_micros, throttling, .. } = usage.cpu;
        let MemoryUsage { current, peak, oom_kills, .. } = usage.memory;
        let PidsUsage { current: processes, limit } = usage.pids;
        Self {
            sandbox_id: id.to_string(),
            timestamp: time::write(chrono::Utc::now()),
            cpu: CpuBody {
                count: usage.cpu_millis() as f64 / 1000.0,
                used_percent: percent(*cpu_share),
                used_seconds: used_micros.map(seconds),
                periods: throttling.map(|Throttling { periods, .. }| periods),
                throttled_periods: throttling.map(|throttling| throttling.throttled_periods),
                throttled_seconds: throttling.map(|throttling| seconds(throttling.throttled_micros)),
            },
            memory: MemoryBody {
                total_bytes: usage.memory_total(),
                used_bytes: usage.memory_used(),
                current_bytes: current,
                peak_bytes: peak,
                oom_kills,
            },
            pids: PidsBody { current: processes, limit },
            io: usage.io.map(IoBody::from),
            disk: usage.disk.map(DiskBody::from),
            network: usage.network.map(NetworkBody::from),
        }
    }
}

impl From<IoUsage> for IoBody {
    fn from(IoUsage { read_bytes, written_bytes, reads, writes }: IoUsage) -> Self {
        Self { read_bytes, written_bytes, reads, writes }
    }
}

impl From<DiskUsage> for DiskBody {
    fn from(DiskUsage { bytes, inodes, complete }: DiskUsage) -> Self {
        Self { used_bytes: bytes, used_inodes: inodes, complete }
    }
}

impl From<NetworkUsage> for NetworkBody {
    fn from(usage: NetworkUsage) -> Self {
        let body = |Traffic { bytes, packets }| TrafficBody { bytes, packets };
        Self {
            sent: body(usage.sent),
            received: body(usage.received),
            refused: body(usage.refused),
            refused_by_reason: usage.refusals().map(|(reason, packets)| (reason.as_str(), packets)).collect(),
        }
    }
}

pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A share as percent, with two digits behind the point.
pub fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}
