//! Limits hold: memory, processes, CPU, devices, and what a host cannot enforce is said.

use std::fs;
use std::os::fd::AsFd;

use serde_json::{Value, json};

use crate::harness::{Daemon, Sandbox, until};

#[test]
fn too_much_memory_ends_the_sandbox_and_says_so() {
    let Some(daemon) = Daemon::start("too_much_memory_ends_the_sandbox_and_says_so") else { return };
    let before = daemon.settled();
    let mut request = daemon.request(&["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60"]);
    request["resourceLimits"] = json!({"memory": "32Mi"});
    let sandbox = daemon.create_from(&request);
    let status = sandbox.ended();
    assert_eq!((&status["state"], &status["reason"]), (&json!("Failed"), &json!("oom_killed")), "{status}");
    assert!(
        status["message"].as_str().is_some_and(|text| text.contains("its memory limit is 33554432 bytes")),
        "{status}"
    );
    sandbox.delete();
    sandbox.until_unknown();
    daemon.check_left(&before);
}

/// The last event of a command.
fn last(sandbox: &Sandbox<'_>, command: &str) -> Value {
    let answer = sandbox.post("proxy/44772/command", &json!({ "command": command })).expect(200).text();
    let frame = answer.trim_end().rsplit("\n\n").next().unwrap_or_default().to_owned();
    serde_json::from_str(frame.trim_start_matches("data: ")).expect("an event")
}

#[test]
fn a_command_that_wants_too_much_memory_dies_alone_and_is_counted() {
    let Some(daemon) = Daemon::start("a_command_that_wants_too_much_memory_dies_alone_and_is_counted") else { return };
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["resourceLimits"] = json!({"memory": "32Mi"});
    let (sandbox, neighbour) = (daemon.create_from(&request), daemon.sleeper());
    let before = (daemon.processes(&sandbox.id), daemon.processes(&neighbour.id));
    // What is in /dev/shm is memory; the sleep before it is not what the kernel kills.
    let hog = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null; code=$?; rm -f /dev/shm/x; exit $code";
    for count in 1..=3 {
        let end = last(&sandbox, hog);
        let told = end["error"]["traceback"][0].as_str().unwrap_or_default();
        assert!(told.starts_with("exit status 137; the kernel killed a process of the sandbox"), "{end}");
        assert!(told.contains("its memory limit is 33554432 bytes"), "{end}");
        assert_eq!(sandbox.stats()["memory"]["oomKills"], count);
    }
    assert_eq!(last(&sandbox, "true")["type"], "execution_complete");
    assert_eq!((daemon.processes(&sandbox.id), daemon.processes(&neighbour.id)), before);
    // The commands have told of them, so the entrypoint's own end is not laid to them.
    sandbox.post("signal", &json!({"signal": "SIGTERM"})).expect_success();
    assert_eq!(sandbox.ended()["reason"], "entrypoint_exited");
    assert_eq!(neighbour.stats()["memory"]["oomKills"], 0);
}

#[test]
fn more_than_the_server_allows_is_refused_and_a_maximum_is_a_default_too() {
    let config = "[limits]\nmax_cpu = '500m'\nmax_memory = '64Mi'\n";
    let test = "more_than_the_server_allows_is_refused_and_a_maximum_is_a_default_too";
    let Some(daemon) = Daemon::start_with(test, config) else { return };
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["resourceLimits"] = json!({"memory": "65Mi"});
    let answer = daemon.client.post("/v1/sandboxes", &request).expect(400);
    assert!(answer.text().contains("resourceLimits.memory is 68157440 bytes and this server allows"), "{answer}");
    let sandbox = daemon.sleeper();
    assert_eq!(sandbox.stats()["memory"]["totalBytes"], 64 << 20);
    assert_eq!(sandbox.stats()["cpu"]["count"], 0.5);
}

#[test]
fn weight_and_device_limits_are_set_or_said_to_be_missing() {
    let Some(daemon) = Daemon::start("weight_and_device_limits_are_set_or_said_to_be_missing") else { return };
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["resourceLimits"] = json!({"cpu-weight": "200", "io-read": "1Mi", "io-write": "2Mi"});
    let sandbox = daemon.create_from(&request);
    let read = |names: [&str; 2]| -> Vec<String> {
        let files = limit_files(&daemon, &sandbox.id, names);
        files.into_iter().map(|path| fs::read_to_string(path).unwrap_or_default().trim().to_owned()).collect()
    };
    let weights = read(["cpu.weight", "cpu.shares"]);
    assert!(weights.iter().any(|weight| weight == "200" || weight == "2048"), "{weights:?}");
    let io = read(["io.max", "blkio.throttle.write_bps_device"]);
    let status = sandbox.get()["status"]["message"].to_string();
    let said = status.contains("this host cannot enforce the io");
    assert!(said || io.iter().any(|line| line.contains("wbps=2097152")), "{status} {io:?}");
    let inspected = daemon.client.get(&sandbox.path("diagnostics/summary")).expect(200).text();
    assert_eq!(inspected.contains("Not enforced:"), said, "{inspected}");
    let strict = "[limits]\nunenforceable = 'refuse'\n";
    let test = "weight_and_device_limits_are_set_or_said_to_be_missing";
    let Some(daemon) = Daemon::start_with(test, strict) else { return };
    let status = daemon.create_from(&request).get()["status"].clone();
    let expected = if said { ("Failed", "limit_not_enforceable") } else { ("Running", "started") };
    assert_eq!((&status["state"], &status["reason"]), (&json!(expected.0), &json!(expected.1)), "{status}");
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

    let sandbox = daemon.sleeper();
    let more = json!({"command": "exec sleep 1000000", "background": true});
    for _ in 0..30 {
        sandbox.post("proxy/44772/command", &more);
    }
    // Commands of the API are of the workload, and bound as it is.
    assert_eq!(daemon.processes(&sandbox.id).len(), 21);
    assert_eq!(sandbox.stats()["pids"]["current"], 20);
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

#[test]
fn a_part_of_the_tree_that_was_given_is_used_and_nothing_else() {
    let test = "a_part_of_the_tree_that_was_given_is_used_and_nothing_else";
    if crate::harness::cgroup_mounts().len() > 1 {
        // Service managers give parts of a single hierarchy.
        return;
    }
    let Some(mut daemon) = Daemon::start(test) else { return };
    daemon.stop();
    let root = crate::harness::unified().expect("a mount");
    let slice = root.join(format!("{}-slice", daemon.cgroup));
    fs::create_dir_all(slice.join("daemon")).expect("made");
    let marked = fs::File::open(&slice).expect("made");
    bivouac::sys::set_xattr(marked.as_fd(), c"trusted.delegate", b"1").expect("marked");
    fs::write(slice.join("cgroup.subtree_control"), "+memory +pids").expect("two controllers of several");
    daemon.launch_in(&slice.join("daemon"));
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["resourceLimits"] = json!({"memory": "64Mi"});
    let sandbox = daemon.create_from(&request);
    assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
    let below = slice.join(&daemon.cgroup).join(&sandbox.id).join("workload");
    assert_eq!(fs::read_to_string(below.join("memory.max")).expect("a limit").trim(), (64 << 20).to_string());
    assert!(!root.join(&daemon.cgroup).exists(), "something is outside of what was given");
    let weight = |name: &str| fs::read_to_string(slice.join(name).join("cpu.weight")).expect("a weight");
    assert_eq!([weight("daemon"), weight(&daemon.cgroup)], ["300\n", "100\n"]);
    sandbox.delete();
    sandbox.until_unknown();
    daemon.stop();
    until("empty again", || {
        for dir in [slice.join("daemon"), slice.clone()] {
            match fs::remove_dir(&dir) {
                Err(error) if dir.exists() => return Err(format!("{}: {error}", dir.display())),
                _ => {}
            }
        }
        Ok(())
    });
}
