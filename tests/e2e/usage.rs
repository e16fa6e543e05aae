//! What a sandbox uses is counted for it alone, by the kernel; what has happened to it is remembered.

use serde_json::{Value, json};

use crate::harness::{Daemon, until};

const BUSY: &str = "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; \
                    dd if=/dev/zero of=/file bs=1M count=5 2>/dev/null; echo ready; while :; do :; done";

fn read(daemon: &Daemon, id: &str, verb: &str) -> Value {
    daemon.client.get(&daemon.sandbox(id).path(verb)).expect(200).json()
}

#[test]
fn a_sandbox_is_told_what_it_uses() {
    let Some(daemon) = Daemon::start("a_sandbox_is_told_what_it_uses") else { return };
    let mut request = daemon.request(&["sh", "-c", BUSY]);
    request["resourceLimits"] = json!({"cpu": "200m", "memory": "64Mi"});
    let (busy, idle) = (daemon.create_from(&request), daemon.sleeper());
    until("has written", || if busy.log().contains("ready") { Ok(()) } else { Err(busy.log()) });
    let stats = until("busy", || {
        let stats = read(&daemon, &busy.id, "stats");
        let share = stats["cpu"]["usedPercent"].as_f64().unwrap_or_default();
        let all = share > 80.0 && stats["cpu"]["throttledPeriods"].as_u64() > Some(0) && stats["disk"].is_object();
        if all { Ok(stats) } else { Err(stats.to_string()) }
    });
    assert_eq!((&stats["cpu"]["count"], &stats["memory"]["totalBytes"]), (&json!(0.2), &json!(64 << 20)));
    let within = |pointer: &str, range: std::ops::RangeInclusive<u64>| {
        let value = stats.pointer(pointer).and_then(Value::as_u64);
        assert!(value.is_some_and(|value| range.contains(&value)), "{pointer} of {stats}");
    };
    within("/memory/usedBytes", 20 << 20..=40 << 20);
    within("/memory/peakBytes", 20 << 20..=64 << 20);
    within("/pids/current", 1..=2);
    within("/disk/usedBytes", 5 << 20..=6 << 20);
    within("/memory/oomKills", 0..=0);
    let rest = read(&daemon, &idle.id, "stats");
    assert!(rest["cpu"]["usedPercent"].as_f64().is_some_and(|share| share < 20.0), "{rest}");
    let inside = read(&daemon, &busy.id, "proxy/44772/metrics");
    assert!(inside["mem_used_mib"].as_f64().is_some_and(|used| (20.0..40.0).contains(&used)), "{inside}");
    assert!(inside["mem_total_mib"] == 64.0 && inside["cpu_used_pct"].as_f64() > Some(50.0), "{inside}");
    busy.delete();
    idle.delete();
}

#[test]
fn a_life_is_remembered_by_the_next_daemon() {
    let Some(mut daemon) = Daemon::start("a_life_is_remembered_by_the_next_daemon") else { return };
    let id = daemon.sleeper().id;
    for verb in ["pause", "resume"] {
        daemon.sandbox(&id).call(verb).expect(202);
    }
    let path = format!("/v1/sandboxes/{id}/diagnostics");
    let events = |daemon: &Daemon| daemon.client.get(&format!("{path}/events?scope=all")).expect(200).json();
    let earlier = events(&daemon);
    for event in ["Pending: provisioning", "Running: started", "Paused: user_pause", "Running: user_resume"] {
        assert!(earlier["content"].as_str().is_some_and(|text| text.contains(event)), "{event} in {earlier}");
    }
    daemon.kill();
    daemon.launch();
    assert_eq!(events(&daemon), earlier);
    let summary = daemon.client.get(&format!("{path}/summary")).expect(200).to_string();
    for part in ["Image digest:", "User ids:", "Cgroup pids:", "Namespaces:", "Processes:", "== Logs"] {
        assert!(summary.contains(part), "{part} in {summary}");
    }
    daemon.sandbox(&id).delete();
}
