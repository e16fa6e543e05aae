//! Limits hold: memory, processes, and what a host cannot enforce is said.

use std::fs;

use serde_json::json;

use crate::harness::{Daemon, until};

#[test]
fn too_much_memory_ends_the_sandbox_and_says_so() {
    let Some(daemon) = Daemon::start("too_much_memory_ends_the_sandbox_and_says_so") else { return };
    let before = daemon.settled();
    let mut request = daemon.request(&["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60"]);
    request["resourceLimits"] = json!({"memory": "32Mi"});
    let sandbox = daemon.create_from(&request);
    let status = sandbox.ended();
    assert_eq!((&status["state"], &status["reason"]), (&json!("Failed"), &json!("oom_killed")), "{status}");
    sandbox.delete();
    sandbox.until_unknown();
    daemon.check_left(&before);
}

#[test]
fn a_sandbox_has_no_more_processes_than_it_may() {
    let config = "[limits]\ndefault_pids = 20\n";
    let Some(daemon) = Daemon::start_with("a_sandbox_has_no_more_processes_than_it_may", config) else { return };
    let script = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; wait";
    let sandbox = daemon.create(&["sh", "-c", script]);
    until("refused a process", || {
        let log = sandbox.log();
        if log.contains("fork") {
            Ok(())
        } else {
            Err(format!("{} processes: {log}", daemon.processes(&sandbox.id).len()))
        }
    });
    // PID 1 is not counted: it must be able to end the others.
    assert!(daemon.processes(&sandbox.id).len() <= 21);
    sandbox.delete();
}

#[test]
fn all_sandboxes_together_leave_process_ids_to_the_host() {
    let Some(daemon) = Daemon::start("all_sandboxes_together_leave_process_ids_to_the_host") else { return };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().parse::<u64>().ok();
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let points = mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1));
    let limits: Vec<u64> = points.filter_map(|point| read(&format!("{point}/{}/pids.max", daemon.cgroup))).collect();
    assert_eq!(limits, [read("/proc/sys/kernel/pid_max").expect("a number") / 2]);
}

#[test]
fn a_limit_is_on_the_workload() {
    let Some(daemon) = Daemon::start("a_limit_is_on_the_workload") else { return };
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["resourceLimits"] = json!({"cpu": "500m", "memory": "64Mi"});
    let sandbox = daemon.create_from(&request);
    assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
    let values = |names: [&str; 2]| -> Vec<String> {
        let files = limit_files(&daemon, &sandbox.id, names);
        files.into_iter().map(|path| fs::read_to_string(path).unwrap_or_default().trim().to_owned()).collect()
    };
    assert_eq!(values(["memory.max", "memory.limit_in_bytes"]), [(64 << 20).to_string()]);
    let cpu = values(["cpu.max", "cpu.cfs_quota_us"]);
    assert!(cpu == ["50000"] || cpu == ["50000 100000"], "{cpu:?}");
}

/// Files of one of these names that hold a limit in the sandbox's cgroups, in whatever hierarchy.
fn limit_files(daemon: &Daemon, id: &str, names: [&str; 2]) -> Vec<std::path::PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let points = mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1));
    let mut found = Vec::new();
    for point in points {
        for below in ["", "/workload"] {
            let dir = format!("{point}/{}/{id}{below}", daemon.cgroup);
            for name in names {
                let path = std::path::PathBuf::from(format!("{dir}/{name}"));
                let text = fs::read_to_string(&path).unwrap_or_default();
                // Where nothing is set the kernel writes `max`, -1 or nearly 2^63.
                if !(text.is_empty() || text.starts_with("max") || text.starts_with('-') || text.len() > 18) {
                    found.push(path);
                }
            }
        }
    }
    found
}
