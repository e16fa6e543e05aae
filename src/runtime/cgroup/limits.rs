//! Limits of the workload, set through the controllers of `cgroups-rs` and read back.

use std::fs;
use std::path::Path;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;

use super::CgroupError;
use super::layout::{Controller, Layout};
use crate::model::Limits;

/// The period that CPU quotas are given in, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// Sets what was asked for. Returns what this host cannot enforce, unless `strict` refuses it.
pub fn apply(layout: &Layout, below: &Path, limits: &Limits, strict: bool) -> Result<Vec<String>, CgroupError> {
    let mut notes = Vec::new();
    let wanted = [
        (Controller::Pids, limits.pids),
        (Controller::Memory, limits.memory_bytes),
        (Controller::Cpu, limits.cpu_millis),
    ];
    for (controller, value) in wanted {
        let Some(value) = value else { continue };
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let Some((dir, unified)) = layout.workload_of(controller, below) else {
            if strict {
                return Err(CgroupError::NotEnforceable { what: controller.name() });
            }
            notes.push(format!("this host cannot enforce the {} limit", controller.name()));
            continue;
        };
        match controller {
            Controller::Pids => set_pids(&dir, unified, value)?,
            Controller::Memory => set_memory(&dir, unified, value)?,
            Controller::Cpu => set_cpu(&dir, unified, value)?,
            Controller::Io | Controller::Devices => {}
        }
    }
    Ok(notes)
}

/// All sandboxes together get half of the process ids that the host has: eight fork bombs could use up the 32,768 that are
/// usual, and then nothing on the host could start a process. A host without the controller goes without.
pub fn leave_ids_to_host(layout: &Layout, parent: &Path) {
    let Some(dir) = layout.parent_of(Controller::Pids, parent) else { return };
    let ids = fs::read_to_string("/proc/sys/kernel/pid_max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let Some(ids) = ids else { return };
    let file = dir.join("pids.max");
    if let Err(error) = fs::write(&file, (ids / 2).to_string()) {
        tracing::warn!(%error, "failed to write {}: sandboxes together may use up the process ids", file.display());
    }
}

fn set_pids(dir: &Path, unified: bool, count: i64) -> Result<(), CgroupError> {
    let pids = PidController::new(dir.to_owned(), dir.to_owned(), unified);
    pids.set_pid_max(MaxValue::Value(count)).map_err(refused("pids.max", dir))?;
    let kept = pids.get_pid_max().map_err(refused("pids.max", dir))?;
    check("pids.max", dir, kept == MaxValue::Value(count), count, &format!("{kept:?}"))
}

fn set_cpu(dir: &Path, unified: bool, millis: i64) -> Result<(), CgroupError> {
    // The kernel refuses quotas below one millisecond.
    let quota = (i64::try_from(CPU_PERIOD).unwrap_or(i64::MAX).saturating_mul(millis) / 1000).max(1000);
    let cpu = CpuController::new(dir.to_owned(), dir.to_owned(), unified);
    cpu.set_cfs_quota_and_period(Some(quota), Some(CPU_PERIOD)).map_err(refused("the CPU quota", dir))?;
    let kept = cpu.cfs_quota().map_err(refused("the CPU quota", dir))?;
    check("the CPU quota", dir, kept == quota, quota, &kept.to_string())
}

/// Memory, and memory with swap equal to it, so that none of it is swap.
fn set_memory(dir: &Path, unified: bool, bytes: i64) -> Result<(), CgroupError> {
    let memory = MemController::new(dir.to_owned(), dir.to_owned(), unified);
    memory.set_limit(bytes).map_err(refused("the memory limit", dir))?;
    let (limit_file, swap_file, swap) = if unified {
        ("memory.max", "memory.swap.max", 0)
    } else {
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes)
    };
    // Kernels without swap accounting have no such file, and a host without swap needs none.
    if dir.join(swap_file).exists() {
        memory.set_memswap_limit(swap).map_err(refused("the swap limit", dir))?;
    }
    let file = dir.join(limit_file);
    let kept = fs::read_to_string(&file).map_err(CgroupError::io("read", &file))?;
    // The kernel counts in pages and rounds down; what is larger than it can count is no limit.
    let close =
        kept.trim() == "max" || kept.trim().parse::<i64>().is_ok_and(|kept| bytes - kept < 65_536 || kept > 1 << 60);
    check("the memory limit", dir, close, bytes, kept.trim())
}

fn refused(what: &'static str, dir: &Path) -> impl FnOnce(cgroups_rs::fs::error::Error) -> CgroupError {
    let path = dir.to_owned();
    move |source| CgroupError::Limit { what, path, source: Box::new(source) }
}

fn check(what: &'static str, dir: &Path, kept: bool, wanted: i64, found: &str) -> Result<(), CgroupError> {
    if kept {
        return Ok(());
    }
    Err(CgroupError::NotKept { what, path: dir.to_owned(), wanted: wanted.to_string(), found: found.to_owned() })
}

/// Devices of a version 1 hierarchy: everything is denied but the six of `/dev` and terminals.
pub fn deny_devices(dir: &Path) -> Result<(), CgroupError> {
    let devices = DevicesController::new(dir.to_owned(), dir.to_owned());
    let list = "the device list";
    devices.deny_device(DeviceType::All, -1, -1, &DevicePermissions::all()).map_err(refused(list, dir))?;
    let access = [DevicePermissions::Read, DevicePermissions::Write];
    // null, zero, full, random, urandom; tty, ptmx; pseudo-terminals (devices.txt of the kernel).
    let allowed = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1)];
    for (major, minor) in allowed {
        devices.allow_device(DeviceType::Char, major, minor, &access).map_err(refused(list, dir))?;
    }
    Ok(())
}

/// The kernel's count of out-of-memory kills in the workload.
#[must_use]
pub fn oom_kills(layout: &Layout, below: &Path) -> u64 {
    let Some((dir, unified)) = layout.workload_of(Controller::Memory, below) else { return 0 };
    let file = dir.join(if unified { "memory.events" } else { "memory.oom_control" });
    let text = fs::read_to_string(file).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or(0)
}
