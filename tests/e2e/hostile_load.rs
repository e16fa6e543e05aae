//! Sandboxes that take what they can get: the host, the daemon and the others go on. Each test is named after what it defends:
//! fork bombs (r1), /dev/shm (r4), floods of output (r5), freezing (l1), orphans (l4), the cgroups themselves (s12).
//! Memory (r2) is in `limits`, the disk (r3) in `disk`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Daemon, Sandbox, programs_of, until};

fn created<'a>(daemon: &'a Daemon, limits: Value, script: &str) -> Sandbox<'a> {
    let mut request = daemon.request(&["sh", "-c", script]);
    request["resourceLimits"] = limits;
    daemon.create_from(&request)
}

/// The directories of a sandbox in every hierarchy.
fn cgroups_of(daemon: &Daemon, id: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let points = mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1));
    let own = points.map(|point| Path::new(point).join(&daemon.cgroup).join(id));
    own.flat_map(|dir| [dir.clone(), dir.join("init"), dir.join("workload")]).filter(|dir| dir.is_dir()).collect()
}

#[test]
fn r1_fork_bombs_end_with_their_sandboxes() {
    let Some(daemon) = Daemon::start("r1_fork_bombs_end_with_their_sandboxes") else { return };
    let before = daemon.settled();
    let bomb = "bomb() { bomb & bomb & sleep 1000; }; (bomb) 2>/dev/null & exec sleep 1000000";
    let limits = json!({"pids": "64", "cpu": "100m", "memory": "32Mi"});
    let bombs: Vec<_> = (0..8).map(|_| created(&daemon, limits.clone(), bomb)).collect();
    for sandbox in &bombs {
        until("at its limit", || {
            let processes = daemon.processes(&sandbox.id).len();
            // PID 1 is not counted.
            assert!(processes <= 65, "{processes}");
            if processes >= 32 { Ok(()) } else { Err(format!("{processes} processes: {}", sandbox.get()["status"])) }
        });
    }
    let neighbour = daemon.create(&["echo", "still here"]);
    assert_eq!(neighbour.ended()["state"], "Terminated");
    neighbour.delete();
    for sandbox in &bombs {
        sandbox.delete();
    }
    bombs.iter().for_each(Sandbox::until_unknown);
    neighbour.until_unknown();
    daemon.check_left(&before);
}

#[test]
fn r4_shared_memory_is_bounded_and_counted() {
    let Some(daemon) = Daemon::start("r4_shared_memory_is_bounded_and_counted") else { return };
    let script = "dd if=/dev/zero of=/dev/shm/full bs=64k 2>/dev/null; echo $?; wc -c < /dev/shm/full; \
                  dd if=/dev/zero of=/dev/full.too bs=64k 2>/dev/null; echo $?; wc -c < /dev/full.too; echo done; \
                  sleep 1000000";
    let sandbox = created(&daemon, json!({"memory": "256Mi"}), script);
    let log = until("full", || {
        let log = sandbox.log();
        if log.ends_with("done\n") { Ok(log) } else { Err(log) }
    });
    let found: Vec<u64> = log.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert_eq!(found[..3], [1, 64 << 20, 1], "{log}");
    assert!(found[3] <= 1 << 20, "{log}");
    let used = sandbox.stats()["memory"]["usedBytes"].as_u64().unwrap_or_default();
    assert!(used > 64 << 20, "{used}");
    sandbox.delete();
}

#[test]
fn r4_files_in_shared_memory_are_bounded() {
    let Some(daemon) = Daemon::start("r4_files_in_shared_memory_are_bounded") else { return };
    // A file for each page of its 64 MiB, one of which is the directory.
    let script = "i=0; while true > /dev/shm/$i; do i=$((i+1)); done 2>/dev/null; echo $i; sleep 1000000";
    let sandbox = created(&daemon, json!({"memory": "256Mi"}), script);
    let log = until("full", || if sandbox.log().ends_with('\n') { Ok(sandbox.log()) } else { Err(sandbox.log()) });
    assert_eq!(log.trim(), ((64 << 20) / 4096 - 1).to_string());
    sandbox.delete();
}

#[test]
fn r5_a_flood_of_output_takes_bounded_room() {
    let config = "[logs]\nmax_bytes = '256Ki'\n";
    let Some(daemon) = Daemon::start_with("r5_a_flood_of_output_takes_bounded_room", config) else { return };
    let flood =
        created(&daemon, json!({}), "i=0; while [ $i -lt 200 ]; do cat /bin/busybox; i=$((i+1)); done; echo over");
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("a process").count();
    let kept = || -> u64 {
        let files = fs::read_dir(daemon.state_dir().join("sandboxes").join(&flood.id)).into_iter().flatten().flatten();
        let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log."));
        logs.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
    };
    // Where it takes long, what is there meanwhile is bounded as well.
    until("over", || {
        assert!(kept() <= 256 << 10, "{} bytes are kept", kept());
        if flood.log().contains("over") { Ok(()) } else { Err(flood.get()["status"].to_string()) }
    });
    let sandbox = daemon.sleeper();
    let command = json!({"command": "sleep 1000000 & echo hi"});
    let answer = sandbox.post("proxy/44772/command", &command).expect(200).text();
    // What the command left behind holds its output open, and nobody waits for it.
    assert!(answer.contains("hi") && answer.contains("execution_complete"), "{answer}");
    let before = descriptors();
    for _ in 0..60 {
        sandbox.post("proxy/44772/command", &json!({"command": "echo hi"})).expect(200);
    }
    until("with as many descriptors as before", || {
        // A prepared sandbox takes the place of this one meanwhile, with some of its own.
        if descriptors() <= before + 10 { Ok(()) } else { Err(format!("{} and now {}", before, descriptors())) }
    });
    sandbox.delete();
    flood.delete();
}

#[test]
fn l1_nothing_moves_in_a_frozen_sandbox() {
    let Some(daemon) = Daemon::start("l1_nothing_moves_in_a_frozen_sandbox") else { return };
    let script = "for n in 1 2 3 4; do (while :; do echo $n >> /moves; (true); done) & done; wait";
    let sandbox = created(&daemon, json!({"pids": "100"}), script);
    let file = daemon.state_dir().join("sandboxes").join(&sandbox.id).join("upper/moves");
    let written = || fs::metadata(&file).map(|about| about.len()).unwrap_or_default();
    for _ in 0..5 {
        let start = written();
        until("moving", || if written() > start { Ok(()) } else { Err(format!("{} bytes", written())) });
        sandbox.call("pause").expect(202);
        let frozen = (written(), daemon.processes(&sandbox.id));
        // Work for the host, and time enough for what would not stand still.
        for _ in 0..50 {
            assert_eq!(sandbox.state(), "Paused");
        }
        assert_eq!((written(), daemon.processes(&sandbox.id)), frozen);
        sandbox.call("resume").expect(202);
    }
    sandbox.call("pause").expect(202);
    sandbox.delete();
    sandbox.until_unknown();
}

#[test]
fn l4_orphans_are_reaped_and_a_deaf_entrypoint_is_ended() {
    let Some(daemon) = Daemon::start("l4_orphans_are_reaped_and_a_deaf_entrypoint_is_ended") else { return };
    let script = "trap '' TERM; i=0; while [ $i -lt 500 ]; do (true & true &); i=$((i+1)); done; echo done; \
                  while :; do sleep 1000000; done";
    let sandbox = created(&daemon, json!({}), script);
    until("done", || if sandbox.log().contains("done") { Ok(()) } else { Err(sandbox.log()) });
    until("without orphans", || match daemon.processes(&sandbox.id) {
        // PID 1, the shell, and the sleep that it waits for.
        few if few.len() == 3 => Ok(()),
        more => Err(format!("{more:?}")),
    });
    sandbox.post("signal", &json!({"signal": "SIGTERM"})).expect_success();
    assert_eq!(sandbox.state(), "Running");
    sandbox.delete();
    sandbox.until_unknown();
}

#[test]
fn s12_a_sandbox_neither_sees_nor_changes_its_cgroups() {
    let Some(daemon) = Daemon::start("s12_a_sandbox_neither_sees_nor_changes_its_cgroups") else { return };
    let script = "ls -a /sys/fs/cgroup | wc -l; cat /proc/self/cgroup | while IFS=: read -r n c p; do echo $p; done; \
                  echo 1 > /sys/fs/cgroup/pids.max && echo changed; echo done; sleep 1000000";
    let sandbox = created(&daemon, json!({}), script);
    let log = until("done", || if sandbox.log().contains("done") { Ok(sandbox.log()) } else { Err(sandbox.log()) });
    assert!(log.starts_with("2\n") && !log.contains("changed") && !log.contains(&daemon.cgroup), "{log}");
    // The owners on the host: root, and for moving processes PID 1, which is nobody inside.
    let inside =
        fs::metadata(daemon.state_dir().join("sandboxes").join(&sandbox.id).join("upper")).expect("made").uid();
    let dirs = cgroups_of(&daemon, &sandbox.id);
    assert!(dirs.len() >= 3, "{dirs:?}");
    for file in dirs.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten()) {
        let about = file.metadata().expect("there");
        assert!(!(inside..inside + 65_536).contains(&about.uid()), "{:?} is the sandbox's own", file.path());
        assert_eq!(about.mode() & 0o002, 0, "everybody may write {:?}", file.path());
    }
    sandbox.delete();
}

/// The nice values of a process's threads of this name.
fn nice_of_threads(pid: i32, name: &str) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // The name stands in parentheses, and may have some of its own; the nice value is the 19th field of all.
    let fields =
        stats.filter_map(|text| text.rsplit_once(')').map(|(start, rest)| (start.to_owned(), rest.to_owned())));
    let named = fields.filter(|(start, _)| start.ends_with(&format!("({name}")));
    named.filter_map(|(_, rest)| rest.split_whitespace().nth(16)?.parse().ok()).collect()
}

#[test]
fn the_daemon_goes_first_and_sandboxes_do_not() {
    let Some(mut daemon) = Daemon::start("the_daemon_goes_first_and_sandboxes_do_not") else { return };
    daemon.stop();
    let plain = daemon.command();
    // As a service manager starts it: as the leader of a session. The nice value is counted from that of these tests.
    let less = -5 - bivouac::sys::own_nice().expect("a nice value");
    let mut command = Command::new("setsid");
    command.args(["nice", "-n", &less.to_string()]).arg(plain.get_program()).args(plain.get_args());
    command.args(["--listen", &daemon.address()]).stdin(Stdio::null()).stdout(Stdio::null());
    daemon.run(command);
    let autogroup = |pid: i32| fs::read_to_string(format!("/proc/{pid}/autogroup")).ok();
    let pid = daemon.pid();
    let threads = nice_of_threads(pid, "bivouac");
    assert!(threads.len() > 1 && threads.iter().all(|nice| *nice == -5), "{threads:?}");
    // Not every kernel has autogroups.
    if let Some(own) = autogroup(pid) {
        assert!(own.trim_end().ends_with("nice -5"), "{own}");
    }
    let sandbox = daemon.sleeper();
    let processes = daemon.processes(&sandbox.id);
    assert!(processes.len() > 1, "{processes:?}");
    for pid in processes.into_iter().chain(programs_of(&daemon.run_dir())) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).expect("it is there");
        assert_eq!(nice_of_threads(pid, name.trim_end()), [0], "{name}");
        assert!(autogroup(pid).is_none_or(|own| own.trim_end().ends_with("nice 0")), "{name}");
    }
    sandbox.delete();
}
