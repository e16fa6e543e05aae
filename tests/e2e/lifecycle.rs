//! The life of a sandbox over the API, from its creation to nothing being left.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Client, Daemon, until};

#[test]
fn a_whole_life() {
    let Some(daemon) = Daemon::start("a_whole_life") else { return };
    let before = daemon.settled();
    let answer = daemon.client.post("/v1/sandboxes", &daemon.request(&["sleep", "1000000"])).expect(202);
    let made = answer.json();
    let sandbox = daemon.sandbox(made["id"].as_str().expect("an id"));
    assert_eq!(answer.header("location"), Some(sandbox.path("").as_str()));
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    assert_eq!(made["status"]["state"], "Running", "{made}");
    assert_eq!((&made["image"], &made["entrypoint"]), (&Value::Null, &json!(["sleep", "1000000"])));
    assert_eq!(sandbox.get()["image"], json!({"uri": "test/busybox:latest"}));

    sandbox.call("resume").expect_error(409, "DOCKER::SANDBOX_NOT_PAUSED");
    sandbox.call("pause").expect(202);
    assert_eq!(sandbox.state(), "Paused");
    assert!(is_frozen(&daemon, &sandbox.id));
    sandbox.call("pause").expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
    sandbox.call("resume").expect(202);
    assert_eq!((sandbox.state().as_str(), is_frozen(&daemon, &sandbox.id)), ("Running", false));

    sandbox.delete();
    daemon.client.delete(&sandbox.path("")).expect_error(404, "DOCKER::SANDBOX_NOT_FOUND");
    assert_eq!(sandbox.until("Terminated")["reason"], "user_delete");
    sandbox.until_unknown();
    daemon.check_left(&before);
}

/// Every process of the sandbox, as the kernel tells it.
fn is_frozen(daemon: &Daemon, id: &str) -> bool {
    let pids = daemon.processes(id);
    assert_eq!(pids.len(), 2, "PID 1 and the entrypoint");
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", pids[0])).expect("a process");
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/")).expect("a version 2 line");
    let sandbox = path.split('/').take(2).collect::<Vec<_>>().join("/");
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let root = mounts.lines().find_map(|line| line.strip_prefix("cgroup2 ")?.split(' ').next()).expect("cgroup2");
    let events = fs::read_to_string(format!("{root}/{sandbox}/cgroup.events")).expect("events");
    events.lines().any(|line| line == "frozen 1")
}

#[test]
fn the_end_of_the_entrypoint_is_told() {
    let Some(daemon) = Daemon::start("the_end_of_the_entrypoint_is_told") else { return };
    for (entrypoint, state, code) in [
        (vec!["true"], "Terminated", 0),
        (vec!["sh", "-c", "exit 3"], "Failed", 3),
        (vec!["sh", "-c", "kill -TERM $$"], "Failed", 143),
    ] {
        let sandbox = daemon.create(&entrypoint);
        let status = sandbox.ended();
        assert_eq!((status["state"].as_str(), status["exitCode"].as_i64()), (Some(state), Some(code)), "{status}");
        assert_eq!(status["reason"], "entrypoint_exited");
        assert!(status["message"].as_str().is_some_and(|text| !text.is_empty()));
        sandbox.call("pause").expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
        sandbox.delete();
    }
}

#[test]
fn an_entrypoint_that_cannot_start_is_named() {
    let Some(daemon) = Daemon::start("an_entrypoint_that_cannot_start_is_named") else { return };
    let before = daemon.settled();
    for (program, reason) in [
        ("no-such-program", "entrypoint_not_found"),
        ("/bin/no-such-program", "entrypoint_not_found"),
        ("/bin/not-executable", "entrypoint_not_executable"),
        ("/etc", "entrypoint_not_executable"),
    ] {
        let sandbox = daemon.create(&[program]);
        let status = sandbox.ended();
        assert_eq!((&status["state"], &status["reason"]), (&json!("Failed"), &json!(reason)), "{status}");
        assert!(status["message"].as_str().is_some_and(|text| text.contains(program)), "{status}");
        sandbox.delete();
        sandbox.until_unknown();
    }
    daemon.check_left(&before);
}

#[test]
fn time_ends_running_and_paused_sandboxes() {
    let Some(daemon) = Daemon::start("time_ends_running_and_paused_sandboxes") else { return };
    let before = daemon.settled();
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["timeout"] = json!(1);
    let (running, paused) = (daemon.create_from(&request), daemon.create_from(&request));
    paused.call("pause").expect(202);
    // Both first: they end together, and are readable for a moment only.
    for sandbox in [&running, &paused] {
        assert_eq!(sandbox.until("Terminated")["reason"], "ttl_expiry");
    }
    for sandbox in [&running, &paused] {
        sandbox.until_unknown();
    }
    daemon.check_left(&before);
}

#[test]
fn only_later_times_renew() {
    let Some(daemon) = Daemon::start("only_later_times_renew") else { return };
    let forever = daemon.sleeper();
    let later = json!({"expiresAt": "2100-01-01T00:00:00Z"});
    forever.post("renew-expiration", &later).expect_error(409, "DOCKER::INVALID_EXPIRATION");

    let mut request = daemon.request(&["sleep", "1000000"]);
    request["timeout"] = json!(3600);
    let sandbox = daemon.create_from(&request);
    let renew = |at: &str| sandbox.post("renew-expiration", &json!({ "expiresAt": at }));
    renew("2001-01-01T00:00:00Z").expect_error(400, "DOCKER::INVALID_EXPIRATION");
    let current = sandbox.get()["expiresAt"].as_str().expect("an end").to_owned();
    renew(&current).expect_error(400, "DOCKER::EXPIRATION_NOT_EXTENDED");
    renew("tomorrow").expect(400);
    sandbox.post("renew-expiration", &json!({})).expect(400);
    let renewed = sandbox.post("renew-expiration", &later).expect(200).json();
    assert_eq!(renewed, later);
    assert_eq!(sandbox.get()["expiresAt"], later["expiresAt"]);
}

#[test]
fn metadata_can_be_changed_and_searched() {
    let Some(daemon) = Daemon::start("metadata_can_be_changed_and_searched") else { return };
    let ids: Vec<String> = (0..3)
        .map(|number| {
            let mut request = daemon.request(&["sleep", "1000000"]);
            request["metadata"] = json!({"team": "a b".replace(' ', "-"), "number": number.to_string()});
            daemon.create_from(&request).id
        })
        .collect();
    let sandbox = daemon.sandbox(&ids[0]);
    let patch = json!({"team": null, "name": "web"});
    let patched = daemon.client.patch(&sandbox.path("metadata"), &patch).expect(200).json();
    assert_eq!(patched["metadata"], json!({"name": "web", "number": "0"}));
    daemon.client.patch(&sandbox.path("metadata"), &json!({"team": 5})).expect(400);

    sandbox.call("pause").expect(202);
    let found = |query: &str| -> Vec<String> {
        let page = daemon.client.get(&format!("/v1/sandboxes?{query}")).expect(200).json();
        let items = page["items"].as_array().expect("items");
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(found(""), [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    assert_eq!(found("state=paused"), [ids[0].clone()]);
    assert_eq!(found("state=Running&state=Paused&metadata=number%3D0"), [ids[0].clone()]);
    assert_eq!(found("metadata=team%3Da-b%26number%3D2"), [ids[2].clone()]);
    let page = daemon.client.get("/v1/sandboxes?pageSize=2&page=2").expect(200).json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
    let expected = json!({"page": 2, "pageSize": 2, "totalItems": 3, "totalPages": 2, "hasNextPage": false});
    assert_eq!(page["pagination"], expected);
}

#[test]
fn output_and_signals() {
    let Some(daemon) = Daemon::start("output_and_signals") else { return };
    let script = "echo out; echo err >&2; trap 'echo told; exit 7' TERM; while true; do sleep 0.01; done";
    let sandbox = daemon.create(&["sh", "-c", script]);
    until("printed", || {
        let log = sandbox.log();
        if log.contains("out\n") && log.contains("err\n") { Ok(()) } else { Err(log) }
    });
    sandbox.post("signal", &json!({"signal": "SIGTERM"})).expect(204);
    assert_eq!(sandbox.ended()["exitCode"], 7);
    assert!(sandbox.log().ends_with("told\n"), "{}", sandbox.log());
}

#[test]
fn the_request_makes_the_environment() {
    let Some(daemon) = Daemon::start("the_request_makes_the_environment") else { return };
    let mut request = daemon.request(&["env"]);
    request["env"] = json!({"GREETING": "gr\u{fc}\u{df} dich", "SKIPPED": null});
    let sandbox = daemon.create_from(&request);
    sandbox.ended();
    let mut lines: Vec<String> = sandbox.log().lines().map(str::to_owned).collect();
    lines.sort();
    let short: String = sandbox.id.replace('-', "").chars().take(12).collect();
    let expected = [
        "EXECD_ENVS=/opt/opensandbox/.env".to_owned(),
        "GREETING=gr\u{fc}\u{df} dich".to_owned(),
        "HOME=/root".to_owned(),
        format!("HOSTNAME={short}"),
        format!("OPENSANDBOX_ID={}", sandbox.id),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn fifty_at_once() {
    let Some(daemon) = Daemon::start("fifty_at_once") else { return };
    let before = daemon.settled();
    let ids: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..50).map(|_| scope.spawn(|| daemon.sleeper().id)).collect();
        workers.into_iter().map(|worker| worker.join().expect("created")).collect()
    });
    let page = daemon.client.get("/v1/sandboxes?state=Running&pageSize=200").expect(200).json();
    assert_eq!(page["pagination"]["totalItems"], 50);
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(|| daemon.sandbox(id).delete());
        }
    });
    ids.iter().for_each(|id| daemon.sandbox(id).until_unknown());
    daemon.check_left(&before);
}

/// Kernels before 6.15 mount layers by their paths; any kernel can.
#[test]
fn the_way_of_older_kernels_works_too() {
    let name = "the_way_of_older_kernels_works_too";
    let Some(daemon) = Daemon::start_with(name, "overlay_by_paths = true\n") else { return };
    let before = daemon.settled();
    let sandbox = daemon.create(&["sh", "-c", "echo $(id -u) > /etc/x; cat /etc/x; ls -d /bin/sh; cat /proc/mounts"]);
    assert_eq!(sandbox.ended()["exitCode"], 0);
    let log = sandbox.log();
    assert!(log.starts_with("0\n/bin/sh\n"), "{log}");
    assert!(!log.contains(&*daemon.state_dir().to_string_lossy()), "a sandbox sees where it is on the host: {log}");
    sandbox.delete();
    sandbox.until_unknown();
    daemon.check_left(&before);
}

#[test]
fn calls_that_race_leave_nothing() {
    let Some(daemon) = Daemon::start("calls_that_race_leave_nothing") else { return };
    let before = daemon.settled();
    for _ in 0..20 {
        let sandbox = daemon.sleeper();
        std::thread::scope(|scope| {
            for verb in ["pause", "resume", "pause", "resume"] {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    let status = sandbox.call(verb).status;
                    assert!([202, 404, 409].contains(&status), "{verb}: {status}");
                });
            }
            scope.spawn(|| sandbox.delete());
        });
        sandbox.until_unknown();
    }
    daemon.check_left(&before);
}

#[test]
fn keys_are_asked_for_on_tcp() {
    let Some(mut daemon) = Daemon::start("keys_are_asked_for_on_tcp") else { return };
    daemon.stop();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let keys = daemon.path("keys");
    fs::write(&keys, "first-key-of-the-test\nsecond-key-of-the-test\n").expect("written");
    fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
    let config = fs::read_to_string(daemon.path("config.toml")).expect("the configuration");
    let server = format!(
        "[server]\nlisten = [\"{}\", \"tcp:{address}\"]\napi_key_file = \"{}\"\n{config}",
        daemon.address(),
        keys.display()
    );
    fs::write(daemon.path("config.toml"), server).expect("written");
    daemon.launch_as_configured();
    let client = Client::tcp(&address);
    client.get("/health").expect(200);
    client.get("/v1/sandboxes").expect_error(401, "MISSING_API_KEY");
    client.with("OPEN-SANDBOX-API-KEY: wrong").get("/v1/sandboxes").expect_error(401, "INVALID_API_KEY");
    for key in ["first-key-of-the-test", "second-key-of-the-test"] {
        client.with(&format!("OPEN-SANDBOX-API-KEY: {key}")).get("/v1/sandboxes").expect(200);
    }
    daemon.client.get("/v1/sandboxes").expect(200);
    assert!(!daemon.log().contains("first-key"), "a key is in the log");
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn a_real_time_signal_is_an_end_too() {
    let Some(daemon) = Daemon::start("a_real_time_signal_is_an_end_too") else { return };
    let status = daemon.create(&["sh", "-c", "kill -40 $$; sleep 1000000"]).ended();
    assert_eq!((&status["state"], &status["exitCode"]), (&json!("Failed"), &json!(168)), "{status}");
}

#[test]
fn a_flood_of_signals_hides_neither_the_output_nor_the_end() {
    let Some(daemon) = Daemon::start("a_flood_of_signals_hides_neither_the_output_nor_the_end") else { return };
    // PID 1 passes every one of them on; SIGHUP goes before SIGCHLD in its queue.
    let flood = "(while :; do kill -HUP 1; done) &";
    let script = format!("trap '' HUP; {flood} {flood} {flood} {flood} sleep 1; echo out; exit 5");
    let sandbox = daemon.create(&["sh", "-c", &script]);
    let status = sandbox.ended();
    assert_eq!((&status["exitCode"], sandbox.log().as_str()), (&json!(5), "out\n"), "{status}");
    sandbox.delete();
}

#[test]
fn a_sandbox_outside_its_cgroups_is_ended_all_the_same() {
    let Some(daemon) = Daemon::start("a_sandbox_outside_its_cgroups_is_ended_all_the_same") else { return };
    let sandbox = daemon.sleeper();
    let pids = daemon.processes(&sandbox.id);
    let root = crate::harness::unified().expect("a cgroup2 mount");
    for pid in &pids {
        fs::write(root.join("cgroup.procs"), pid.to_string()).expect("moved out");
    }
    let cgroup = root.join(&daemon.cgroup).join(&sandbox.id);
    for part in ["workload", "init", ""] {
        fs::remove_dir(cgroup.join(part)).expect("an empty cgroup");
    }
    sandbox.delete();
    assert_eq!(sandbox.until("Terminated")["reason"], "user_delete");
    until("ended", || {
        let left: Vec<_> = pids.iter().filter(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(true)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
