//! What every sandbox may reach, with every kind of packet and at every moment of its life.

use serde_json::{Value, json};

use crate::harness::{World, until, world};
use crate::network::BRIDGE;
use crate::network_policy::{probed, probed_without_daemon, reach};

const KINDS: [&str; 3] = ["tcp", "udp", "ping"];

/// Whoever answers and should not is a failure at once. A datagram may be lost.
#[track_caller]
fn check(moment: &str, is_open: bool, ask: impl Fn(&[&str]) -> Vec<String>) {
    let addresses = [&world::PUBLIC[..], &world::PRIVATE, &world::HOST].concat();
    let expected = addresses.iter().flat_map(|address| {
        let answered = is_open && world::PUBLIC.contains(address);
        KINDS.map(|kind| (format!("{kind} {address}"), answered))
    });
    let expected: Vec<(String, bool)> = expected.collect();
    until("as it should be", || {
        let told = ask(&reach(&KINDS, &addresses));
        let differs = |((what, answered), told): (&(String, bool), &String)| {
            let is_answered = told.starts_with("answered");
            assert!(!is_answered || *answered, "{moment}: {what}: {told}");
            (is_answered != *answered).then(|| format!("{moment}: {what}: {told}"))
        };
        let differences: Vec<String> = expected.iter().zip(&told).filter_map(differs).collect();
        if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
    });
}

#[test]
fn what_is_closed_to_all_is_closed_at_every_moment() {
    let Some(world) = World::start("what_is_closed_to_all_is_closed_at_every_moment") else { return };
    let mut daemon = world.daemon(BRIDGE);
    world::HOST.iter().for_each(|address| world.answer_at(&world.host, address, world::PORT));
    let (id, pid) = {
        let sandbox = daemon.sleeper();
        let ask = |arguments: &[&str]| probed(&sandbox, arguments);
        let put = |policy: Value| {
            daemon.client.ask("PUT", &sandbox.path("networkpolicy"), policy.to_string().as_bytes()).expect(200);
        };
        check("at create", true, ask);
        sandbox.call("pause").expect(202);
        sandbox.call("resume").expect(202);
        check("after a resume", true, ask);
        put(json!({ "defaultAction": "deny" }));
        check("after an update that closes all", false, ask);
        put(json!({ "defaultAction": "allow" }));
        check("after an update that opens all", true, ask);
        let pid = daemon.processes(&sandbox.id)[0];
        (sandbox.id, pid)
    };
    daemon.kill();
    check("no daemon", true, |arguments| probed_without_daemon(pid, arguments));
    daemon.launch();
    let sandbox = daemon.sandbox(&id);
    check("a new daemon", true, |arguments| probed(&sandbox, arguments));
}
