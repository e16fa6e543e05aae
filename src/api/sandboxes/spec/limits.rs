//! `resourceLimits`: CPU and memory and, as extensions of ours, weight of the CPU, processes, input and output, disk.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::model::{Limits, parse_cpu, parse_memory};

/// Less than this holds no process at all.
const LEAST_MEMORY: u64 = 4 << 20;
/// The kernel counts no more processes than this (`PID_MAX_LIMIT`).
const MOST_PIDS: u64 = 1 << 22;

/// A file system needs this much for itself.
const LEAST_DISK: u64 = 4 << 20;
const WEIGHTS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// `most` is the server's maximum of each.
pub fn read(body: &Fields<'_>, most: &Limits) -> Result<Limits, ApiError> {
    let limits = body.text_map("resourceLimits")?;
    // Reservations mean nothing on a single host; they are checked for their shape and not used.
    body.text_map("resourceRequests")?;
    let limits =
        limits.ok_or_else(|| ApiError::invalid("resourceLimits is required; send {} for the server's defaults."))?;
    if limits.contains_key("gpu") {
        return Err(ApiError::invalid("resourceLimits.gpu is not supported by this version; leave it out."));
    }
    let bytes = |name| one(&limits, name, |text| parse_memory(text).ok());
    let limits = Limits {
        cpu_millis: one(&limits, "cpu", |text| parse_cpu(text).ok())?,
        cpu_weight: one(&limits, "cpu-weight", |text| parse_whole(text).filter(|weight| WEIGHTS.contains(weight)))?,
        memory_bytes: at_least("memory", bytes("memory")?, LEAST_MEMORY, "4Mi", "to start anything")?,
        pids: one(&limits, "pids", |text| parse_whole(text).filter(|pids| (1..=MOST_PIDS).contains(pids)))?,
        io_read: bytes("io-read")?,
        io_write: bytes("io-write")?,
        disk_bytes: disk(&limits)?,
        disk_inodes: one(&limits, "inodes", |text| parse_whole(text).filter(|count| *count > 0))?,
    };
    match limits.above(most) {
        Some((name, value, most)) => Err(ApiError::invalid(format!(
            "resourceLimits.{name} is {} and this server allows at most {}.",
            words(name, value),
            words(name, most)
        ))),
        None => Ok(limits),
    }
}

/// As a request would write it.
fn words(name: &str, value: u64) -> String {
    match name {
        "cpu" => format!("{value}m"),
        "cpu-weight" | "pids" | "inodes" => value.to_string(),
        _ => format!("{value} bytes"),
    }
}

/// Kubernetes calls it `ephemeral-storage`.
fn disk(limits: &BTreeMap<String, String>) -> Result<Option<u64>, ApiError> {
    let read = |name| one(limits, name, |text| parse_memory(text).ok());
    let bytes = match (read("disk")?, read("ephemeral-storage")?) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "resourceLimits.disk and resourceLimits.ephemeral-storage are the same; give one.",
            ));
        }
        (disk, storage) => disk.or(storage),
    };
    at_least("disk", bytes, LEAST_DISK, "4Mi", "to hold a file system")
}

fn at_least(name: &str, bytes: Option<u64>, least: u64, words: &str, to: &str) -> Result<Option<u64>, ApiError> {
    match bytes {
        Some(bytes) if bytes < least => Err(ApiError::invalid(format!(
            "resourceLimits.{name} of {bytes} bytes is too little {to}; give at least {words}."
        ))),
        bytes => Ok(bytes),
    }
}

fn one(
    limits: &BTreeMap<String, String>,
    name: &str,
    parse: impl Fn(&str) -> Option<u64>,
) -> Result<Option<u64>, ApiError> {
    let Some(text) = limits.get(name) else { return Ok(None) };
    parse(text).map(Some).ok_or_else(|| {
        let text = shown(text).replace('"', "'");
        ApiError::invalid(format!("Invalid resourceLimits.{name}: {text}; must resolve to a positive resource limit."))
    })
}

fn parse_whole(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}
