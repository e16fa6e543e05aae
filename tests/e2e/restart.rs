//! A daemon that dies, stops or is replaced disturbs no sandbox.

use serde_json::{Value, json};

use crate::harness::{Daemon, until};

#[test]
fn sandboxes_outlive_a_killed_daemon() {
    let Some(mut daemon) = Daemon::start("sandboxes_outlive_a_killed_daemon") else { return };
    let before = daemon.settled();
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["timeout"] = json!(3600);
    request["metadata"] = json!({"name": "web"});
    let (running, paused) = (daemon.create_from(&request).id, daemon.create_from(&request).id);
    daemon.sandbox(&paused).call("pause").expect(202);
    let look = |daemon: &Daemon| -> Vec<(Value, Vec<i32>)> {
        [&running, &paused].map(|id| (daemon.sandbox(id).get(), daemon.processes(id))).to_vec()
    };
    let earlier = look(&daemon);
    daemon.kill();
    daemon.launch();
    assert_eq!(look(&daemon), earlier);

    daemon.sandbox(&running).call("pause").expect(202);
    daemon.sandbox(&paused).call("resume").expect(202);
    let later = json!({"expiresAt": "2100-01-01T00:00:00Z"});
    daemon.sandbox(&paused).post("renew-expiration", &later).expect(200);
    for id in [&running, &paused] {
        daemon.sandbox(id).delete();
        daemon.sandbox(id).until_unknown();
    }
    check_but_pids(&daemon, &before);
}

#[test]
fn an_end_while_nobody_looked_is_told_truly() {
    let Some(mut daemon) = Daemon::start("an_end_while_nobody_looked_is_told_truly") else { return };
    let waiting = "while [ ! -e /tmp/go ]; do sleep 0.01; done; exit 7";
    let ids = [daemon.create(&["sh", "-c", waiting]).id, daemon.create(&["sh", "-c", waiting]).id];
    let workers = ids.clone().map(|id| daemon.processes(&id));
    daemon.kill();
    // The shell of one is told to exit by a signal of its own, the other ends as it likes.
    for (pids, signal) in workers.iter().zip([nix::sys::signal::Signal::SIGKILL, nix::sys::signal::Signal::SIGTERM]) {
        let entrypoint = entrypoint_of(pids);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(entrypoint), signal).expect("a process");
        until("gone", || match std::fs::read_to_string(format!("/proc/{entrypoint}/stat")) {
            Err(_) => Ok(()),
            Ok(stat) => Err(stat),
        });
    }
    daemon.launch();
    for (id, code) in ids.iter().zip([137, 143]) {
        let status = daemon.sandbox(id).ended();
        assert_eq!((&status["state"], &status["exitCode"]), (&json!("Failed"), &json!(code)), "{status}");
    }
}

/// The process whose parent is PID 1 of the sandbox.
fn entrypoint_of(pids: &[i32]) -> i32 {
    let inner = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default().to_owned();
        numbers.split_whitespace().last().and_then(|number| number.parse::<i32>().ok())
    };
    *pids.iter().find(|pid| inner(pid) == Some(2)).expect("an entrypoint")
}

#[test]
fn a_program_ends_while_the_daemon_is_down() {
    let Some(mut daemon) = Daemon::start("a_program_ends_while_the_daemon_is_down") else { return };
    let id = daemon.create(&["sh", "-c", "sleep 0.5; echo last words; exit 7"]).id;
    let pids = daemon.processes(&id);
    daemon.kill();
    until("ended", || {
        let left = daemon.processes(&id);
        if left.len() < pids.len() && left.len() == 1 { Ok(()) } else { Err(format!("{left:?}")) }
    });
    daemon.launch();
    let sandbox = daemon.sandbox(&id);
    let status = sandbox.ended();
    assert_eq!((&status["exitCode"], &status["reason"]), (&json!(7), &json!("entrypoint_exited")), "{status}");
    assert_eq!(sandbox.log(), "last words\n");
}

#[test]
fn time_goes_on_while_the_daemon_is_down() {
    let Some(mut daemon) = Daemon::start("time_goes_on_while_the_daemon_is_down") else { return };
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["timeout"] = json!(1);
    let id = daemon.create_from(&request).id;
    let due = daemon.sandbox(&id).get()["expiresAt"].as_str().expect("an end").to_owned();
    daemon.kill();
    until("due", || {
        let now = chrono::Utc::now().to_rfc3339();
        if now > due { Ok(()) } else { Err(format!("{now}, due {due}")) }
    });
    daemon.launch();
    assert_eq!(daemon.sandbox(&id).until("Terminated")["reason"], "ttl_expiry");
}

#[test]
fn a_daemon_that_is_told_to_stop_leaves_in_order() {
    let Some(mut daemon) = Daemon::start("a_daemon_that_is_told_to_stop_leaves_in_order") else { return };
    let id = daemon.sleeper().id;
    let pids = daemon.processes(&id);
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.path("api.sock").exists());
    assert_eq!(daemon.processes(&id), pids);
    daemon.launch();
    assert_eq!((daemon.sandbox(&id).state().as_str(), daemon.processes(&id)), ("Running", pids));
}

#[test]
fn one_daemon_holds_a_state_directory() {
    let Some(daemon) = Daemon::start("one_daemon_holds_a_state_directory") else { return };
    let id = daemon.sleeper().id;
    let mut second = daemon.command();
    second.args(["--listen", &format!("unix:{}", daemon.path("second.sock").display())]);
    let output = second.stderr(std::process::Stdio::piped()).output().expect("the daemon starts");
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(daemon.sandbox(&id).state(), "Running");
}

/// The host is as before, apart from the numbers of the new daemon's own processes.
pub fn check_but_pids(daemon: &Daemon, before: &crate::harness::Snapshot) {
    until("as before", || {
        let changes = daemon.snapshot().differences(before);
        let real: Vec<&String> = changes.iter().filter(|change| !change.starts_with("descriptors: ")).collect();
        if real.is_empty() { Ok(()) } else { Err(format!("{real:#?}")) }
    });
}
