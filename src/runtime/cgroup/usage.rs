//! What a workload uses, read from its cgroups. Version 1 and 2 count the same under different names.
//!
//! Nothing here is an error: a counter that this kernel does not have is not told, and a sandbox that is gone uses nothing.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use super::layout::{Controller, Layout};
use crate::model::{CpuUsage, HostSize, IoUsage, MemoryUsage, PidsUsage, Throttling, Usage};
use crate::sys;

/// Version 1 says "no limit" with the largest number of whole pages; no host has so much memory.
const NO_LIMIT: u64 = 1 << 60;

pub fn read(layout: &Layout, below: &Path) -> Usage {
    Usage {
        cpu: cpu(layout, below),
        memory: memory(layout, below),
        pids: pids(layout, below),
        io: io(layout, below),
        disk: None,
        network: None,
        host: host(),
        boot_nanos: sys::boot_nanos(),
    }
}

/// The time comes from the version 2 hierarchy on every host: its core counts it without any controller.
fn cpu(layout: &Layout, below: &Path) -> CpuUsage {
    let time = text(&layout.unified.join(below).join("workload"), "cpu.stat");
    let used_micros = time.as_deref().and_then(|stat| field(stat, "usage_usec"));
    let Some((dir, unified)) = layout.workload_of(Controller::Cpu, below) else {
        return CpuUsage { used_micros, ..CpuUsage::default() };
    };
    let quota_millis = if unified {
        text(&dir, "cpu.max").and_then(|max| quota_of_max(&max))
    } else {
        quota(number(&dir, "cpu.cfs_quota_us"), number(&dir, "cpu.cfs_period_us"))
    };
    CpuUsage { used_micros, quota_millis, throttling: text(&dir, "cpu.stat").and_then(|stat| throttling(&stat)) }
}

fn memory(layout: &Layout, below: &Path) -> MemoryUsage {
    let Some((dir, unified)) = layout.workload_of(Controller::Memory, below) else { return MemoryUsage::default() };
    let [current, peak, limit, kills, inactive] = if unified {
        ["memory.current", "memory.peak", "memory.max", "memory.events", "inactive_file"]
    } else {
        // Without `total_` it would leave out the cgroups that the workload may have made below its own.
        [
            "memory.usage_in_bytes",
            "memory.max_usage_in_bytes",
            "memory.limit_in_bytes",
            "memory.oom_control",
            "total_inactive_file",
        ]
    };
    MemoryUsage {
        current: number(&dir, current),
        inactive_file: text(&dir, "memory.stat").and_then(|stat| field(&stat, inactive)),
        peak: number(&dir, peak),
        limit: number(&dir, limit).filter(|limit| *limit < NO_LIMIT),
        oom_kills: text(&dir, kills).and_then(|events| field(&events, "oom_kill")),
    }
}

pub fn pids(layout: &Layout, below: &Path) -> PidsUsage {
    let Some((dir, _)) = layout.workload_of(Controller::Pids, below) else { return PidsUsage::default() };
    PidsUsage { current: number(&dir, "pids.current"), limit: number(&dir, "pids.max") }
}

fn io(layout: &Layout, below: &Path) -> Option<IoUsage> {
    let (dir, _) = layout.workload_of(Controller::Io, below).filter(|(_, unified)| *unified)?;
    text(&dir, "io.stat").map(|stat| io_of_stat(&stat))
}

/// CPUs and memory of the host do not change while it runs, as far as anybody here would notice.
fn host() -> HostSize {
    static SIZE: OnceLock<HostSize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let cpus = available_parallelism().map_or(1, |count| count.get() as u64);
        let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of_meminfo(&text));
        HostSize { cpu_millis: cpus * 1000, memory_bytes: memory.unwrap_or(0) }
    })
}

fn text(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

/// `max` and `-1` are no number.
fn number(dir: &Path, file: &str) -> Option<u64> {
    text(dir, file)?.trim().parse().ok()
}

/// The number behind a name in lines of `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `cpu.max`: `QUOTA PERIOD` in microseconds, or `max PERIOD`.
fn quota_of_max(text: &str) -> Option<u64> {
    let (quota_micros, period) = text.trim().split_once(' ')?;
    quota(quota_micros.parse().ok(), period.parse().ok())
}

fn quota(micros: Option<u64>, period: Option<u64>) -> Option<u64> {
    let (micros, period) = (micros?, period.filter(|period| *period > 0)?);
    Some(micros.saturating_mul(1000) / period)
}

/// `cpu.stat` of the controller. Version 1 counts nanoseconds.
fn throttling(stat: &str) -> Option<Throttling> {
    let nanos = field(stat, "throttled_time").map(|nanos| nanos / 1000);
    Some(Throttling {
        periods: field(stat, "nr_periods")?,
        throttled_periods: field(stat, "nr_throttled")?,
        throttled_micros: field(stat, "throttled_usec").or(nanos)?,
    })
}

/// `io.stat`: a line for each device, `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.
fn io_of_stat(stat: &str) -> IoUsage {
    let mut sum = IoUsage::default();
    for (name, value) in stat.split_whitespace().filter_map(|word| word.split_once('=')) {
        let total = match name {
            "rbytes" => &mut sum.read_bytes,
            "wbytes" => &mut sum.written_bytes,
            "rios" => &mut sum.reads,
            "wios" => &mut sum.writes,
            _ => continue,
        };
        *total = total.saturating_add(value.parse().unwrap_or(0));
    }
    sum
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))?;
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        dir
    }

    #[test]
    fn a_pure_host_is_read_from_one_directory() {
        let dir = written(&[
            (
                "p/x/workload/cpu.stat",
                "usage_usec 1500\nuser_usec 1000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 77\n",
            ),
            ("p/x/workload/cpu.max", "50000 100000\n"),
            ("p/x/workload/memory.current", "4096\n"),
            ("p/x/workload/memory.peak", "8192\n"),
            ("p/x/workload/memory.max", "max\n"),
            ("p/x/workload/memory.stat", "anon 1\nfile 2\ninactive_file 1024\n"),
            ("p/x/workload/memory.events", "low 0\noom 2\noom_kill 1\noom_group_kill 0\n"),
            ("p/x/workload/pids.current", "3\n"),
            ("p/x/workload/pids.max", "max\n"),
            ("p/x/workload/io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:1 rbytes=5\n"),
        ]);
        let all = vec![Controller::Cpu, Controller::Memory, Controller::Pids, Controller::Io];
        let layout = Layout { unified: dir.path().into(), unified_controllers: all, legacy: Vec::new() };
        let usage = read(&layout, Path::new("p/x"));
        let throttling = Some(Throttling { periods: 9, throttled_periods: 4, throttled_micros: 77 });
        assert_eq!(usage.cpu, CpuUsage { used_micros: Some(1500), quota_millis: Some(500), throttling });
        let memory = MemoryUsage {
            current: Some(4096),
            inactive_file: Some(1024),
            peak: Some(8192),
            limit: None,
            oom_kills: Some(1),
        };
        assert_eq!(usage.memory, memory);
        assert_eq!(usage.pids, PidsUsage { current: Some(3), limit: None });
        assert_eq!(usage.io, Some(IoUsage { read_bytes: 15, written_bytes: 20, reads: 1, writes: 2 }));
        assert!(usage.host.cpu_millis >= 1000 && usage.host.memory_bytes > 1 << 20, "{:?}", usage.host);
    }

    #[test]
    fn a_hybrid_host_is_read_from_several() {
        let dir = written(&[
            ("unified/p/x/workload/cpu.stat", "usage_usec 1500\n"),
            ("cpu/p/x/cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 77000\n"),
            ("cpu/p/x/cpu.cfs_quota_us", "-1\n"),
            ("cpu/p/x/cpu.cfs_period_us", "100000\n"),
            ("memory/p/x/memory.usage_in_bytes", "4096\n"),
            ("memory/p/x/memory.max_usage_in_bytes", "8192\n"),
            ("memory/p/x/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/p/x/memory.stat", "inactive_file 1\ntotal_inactive_file 1024\n"),
            ("memory/p/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ]);
        let mount = |name: &str| -> PathBuf { dir.path().join(name) };
        let legacy = vec![(Controller::Cpu, mount("cpu")), (Controller::Memory, mount("memory"))];
        let layout = Layout { unified: mount("unified"), unified_controllers: Vec::new(), legacy };
        let usage = read(&layout, Path::new("p/x"));
        let throttling = Some(Throttling { periods: 9, throttled_periods: 4, throttled_micros: 77 });
        assert_eq!(usage.cpu, CpuUsage { used_micros: Some(1500), quota_millis: None, throttling });
        let memory = MemoryUsage {
            current: Some(4096),
            inactive_file: Some(1024),
            peak: Some(8192),
            limit: None,
            oom_kills: Some(2),
        };
        assert_eq!(usage.memory, memory);
        assert_eq!((usage.pids, usage.io), (PidsUsage::default(), None));
    }

    #[test]
    fn what_is_gone_uses_nothing() {
        let dir = written(&[]);
        let layout =
            Layout { unified: dir.path().into(), unified_controllers: vec![Controller::Memory], legacy: Vec::new() };
        let usage = read(&layout, Path::new("p/x"));
        assert_eq!((usage.cpu, usage.memory), (CpuUsage::default(), MemoryUsage::default()));
    }

    #[test]
    fn odd_texts() {
        assert_eq!(quota_of_max("max 100000\n"), None);
        assert_eq!(quota_of_max("1000 0\n"), None);
        assert_eq!(field("oom_killer 7\noom_kill 1\n", "oom_kill"), Some(1));
        assert_eq!(field("a b\n", "a"), None);
        assert_eq!(io_of_stat("8:0 rbytes=x wbytes"), IoUsage::default());
        assert_eq!(total_of_meminfo("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
    }
}
