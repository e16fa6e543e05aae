//! `resourceLimits`: CPU, memory and, as an extension of ours, the number of processes.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::model::{Limits, parse_cpu, parse_memory};

/// Less than this holds no process at all.
const LEAST_MEMORY: u64 = 4 << 20;
/// The kernel counts no more processes than this (`PID_MAX_LIMIT`).
const MOST_PIDS: u64 = 1 << 22;

pub fn read(body: &Fields<'_>) -> Result<Limits, ApiError> {
    let limits = body.text_map("resourceLimits")?;
    // Reservations mean nothing on a single host; they are checked for their shape and not used.
    body.text_map("resourceRequests")?;
    let limits =
        limits.ok_or_else(|| ApiError::invalid("resourceLimits is required; send {} for the server's defaults."))?;
    if limits.contains_key("gpu") {
        return Err(ApiError::invalid("resourceLimits.gpu is not supported by this version; leave it out."));
    }
    Ok(Limits {
        cpu_millis: one(&limits, "cpu", |text| parse_cpu(text).ok())?,
        memory_bytes: memory(&limits)?,
        pids: one(&limits, "pids", parse_pids)?,
    })
}

fn memory(limits: &BTreeMap<String, String>) -> Result<Option<u64>, ApiError> {
    let memory = one(limits, "memory", |text| parse_memory(text).ok())?;
    match memory {
        Some(bytes) if bytes < LEAST_MEMORY => Err(ApiError::invalid(format!(
            "resourceLimits.memory of {bytes} bytes is too little to start anything; give at least 4Mi."
        ))),
        memory => Ok(memory),
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

fn parse_pids(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|pids| plain && (1..=MOST_PIDS).contains(pids))
}
