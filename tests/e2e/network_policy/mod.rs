//! What sandboxes under a policy reach, in a world of the test's own.

mod change;
mod model;
mod names;

use serde_json::{Value, json};

use crate::harness::{Daemon, Namespace, Sandbox, World, Zone, probe, until};

pub const GATEWAY: &str = "10.211.0.1";
const RESOLVER: &str = "203.0.113.1";
pub const CONFIG: &str = "[network]\nmode = \"bridge\"\nresolvers = [\"203.0.113.1\"]\n";

/// Beside those that every world has.
const MORE: [&str; 6] = ["23.1.1.1", "23.1.1.2", "23.1.2.1", "2a05:1::1", "2a05:1::2", "2a05:2::1"];

const ZONE: &[(&str, &[&str])] = &[
    ("a.example", &["93.184.216.34", "2606:2800:220:1::34"]),
    ("b.example", &["23.1.1.1", "2a05:1::1"]),
    ("w.wild.example", &["23.1.1.2", "2a05:1::2"]),
    ("x.y.wild.example", &["23.1.2.1", "2a05:2::1"]),
    ("wild.example", &["8.8.8.8", "2001:4860:4860::8888"]),
    ("alias.example", &["cdn.other"]),
    ("cdn.other", &["edge.other"]),
    ("edge.other", &["23.1.2.1", "2a05:2::1"]),
    ("rebind.wild.example", &["10.0.0.5", "169.254.169.254", "127.0.0.1", "fd12::5", "::1"]),
    ("mixed.wild.example", &["10.0.0.5", "23.1.1.2", "fd12::5", "2a05:1::2"]),
];

pub struct Place {
    pub world: World,
    pub zone: Zone,
}

impl Place {
    pub fn start(test: &str) -> Option<Self> {
        let world = World::start(test)?;
        MORE.iter().for_each(|address| world.stand_at(address));
        let zone = Zone::start(&world, RESOLVER, ZONE);
        Some(Self { world, zone })
    }
}

pub fn with_policy(daemon: &Daemon, policy: &Value) -> Value {
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["networkPolicy"] = policy.clone();
    request
}

/// What the probe says inside of the sandbox, a word of each.
pub fn probed(sandbox: &Sandbox<'_>, arguments: &[&str]) -> Vec<String> {
    let told = probed_json(sandbox, arguments);
    serde_json::from_value(told.clone()).unwrap_or_else(|_| panic!("{told}"))
}

pub fn probed_json(sandbox: &Sandbox<'_>, arguments: &[&str]) -> Value {
    let argv: Vec<&str> = ["/bin/probe"].iter().chain(arguments).copied().collect();
    let answer = sandbox.post("proxy/44772/command", &json!({ "argv": argv })).expect(200).text();
    let frames = answer.split_terminator("\n\n").map(|frame| frame.trim_start_matches("data: "));
    let events = frames.map(|frame| serde_json::from_str::<Value>(frame).expect("an event"));
    let text: String = events
        .filter(|event| event["type"] == "stdout")
        .map(|event| event["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{answer}"))
}

/// The same in the network namespace of a process of the sandbox, whether a daemon is there or not.
pub fn probed_without_daemon(pid: i32, arguments: &[&str]) -> Vec<String> {
    let group = std::fs::read_to_string(format!("/proc/{pid}/gid_map")).expect("a process of a sandbox");
    let group = group.split_whitespace().nth(1).and_then(|group| group.parse().ok()).expect("its groups");
    let text = Namespace::of(pid).command_of(group, &probe().display().to_string(), arguments);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

pub fn ask<'a>(over: &'a str, server: &'a str, questions: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let questions = questions.iter().flat_map(|(name, kind)| [*name, *kind]);
    ["ask", over, server].into_iter().chain(questions).collect()
}

pub fn reach<'a>(kinds: &[&'a str], addresses: &[&'a str]) -> Vec<&'a str> {
    let each = addresses.iter().flat_map(|address| kinds.iter().flat_map(|kind| [*kind, *address, "7777"]));
    ["reach"].into_iter().chain(each).collect()
}

#[test]
fn nothing_of_a_policy_is_left_behind() {
    let Some(place) = Place::start("nothing_of_a_policy_is_left_behind") else { return };
    let daemon = place.world.daemon(CONFIG);
    let policy = json!({"defaultAction": "allow", "egress": [
        {"action": "allow", "target": "a.example"}, {"action": "deny", "target": "23.1.0.0/16"},
        {"action": "allow", "target": "2a05:1::/32"},
    ]});
    let rules = || place.world.host.command("nft", &["list", "ruleset"]);
    let elements = || {
        let sets = ["policed", "allowing", "learned4", "learned6", "denied4", "allowed4", "denied6", "allowed6"];
        let table =
            rules().lines().find_map(|line| line.strip_prefix("table inet ")?.split(' ').next().map(str::to_owned));
        let table = table.expect("a table");
        let listed = sets.map(|set| place.world.host.command("nft", &["list", "set", "inet", &table, set]));
        listed.iter().filter(|text| text.contains("elements")).count()
    };
    let closed = json!({"defaultAction": "deny", "egress": [{"action": "allow", "target": "a.example"}]});
    let first = daemon.create_from(&with_policy(&daemon, &policy));
    let second = daemon.create_from(&with_policy(&daemon, &closed));
    assert!(
        probed(&second, &ask("udp", GATEWAY, &[("a.example", "A"), ("a.example", "AAAA")]))[1]
            .starts_with("NoError 2606")
    );
    assert_eq!(elements(), 6, "{}", rules());
    // The addresses of a name are shown with it, and with a time to live.
    let shown = rules();
    assert!(shown.contains("comment \"a.example\"") && shown.contains("timeout"), "{shown}");
    first.delete();
    second.delete();
    until("gone", || match elements() {
        0 => Ok(()),
        _ => Err(rules()),
    });
}

#[test]
fn elements_that_somebody_takes_away_open_nothing_and_come_back() {
    let Some(place) = Place::start("elements_that_somebody_takes_away_open_nothing_and_come_back") else { return };
    let daemon = place.world.daemon(CONFIG);
    let policy = json!({"defaultAction": "deny", "egress": [
        {"action": "allow", "target": "a.example"}, {"action": "allow", "target": "23.1.1.0/24"},
    ]});
    let sandbox = daemon.create_from(&with_policy(&daemon, &policy));
    let free = daemon.sleeper();
    assert_eq!(probed(&sandbox, &ask("udp", GATEWAY, &[("a.example", "A")])), ["NoError 93.184.216.34"]);
    let rules = place.world.host.command("nft", &["list", "tables"]);
    let table = rules.lines().find_map(|line| line.strip_prefix("table inet ")).expect("a table");
    for set in ["free", "policed", "learned4", "allowed4"] {
        place.world.host.command("nft", &["flush", "set", "inet", table, set]);
        let told = probed(&sandbox, &reach(&["tcp"], &["8.8.8.8", "23.1.2.1"]));
        assert!(told.iter().all(|told| told.starts_with("failed")), "{set}: {told:?}");
        until("as before", || {
            let told = probed(&sandbox, &reach(&["tcp"], &["93.184.216.34", "23.1.1.1"]));
            let others = probed(&free, &reach(&["tcp"], &["8.8.8.8"]));
            let all = told.iter().chain(&others).all(|told| told.starts_with("answered"));
            if all { Ok(()) } else { Err(format!("{set}: {told:?} {others:?}")) }
        });
    }
}

#[test]
fn a_policy_needs_a_network() {
    let Some(world) = World::start("a_policy_needs_a_network") else { return };
    let daemon = world.daemon("");
    let request = with_policy(&daemon, &json!({"defaultAction": "deny"}));
    daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
    let sandbox = daemon.sleeper();
    let shown = daemon.client.get(&sandbox.path("proxy/18080/policy")).expect(200).json();
    assert_eq!((shown["mode"].as_str(), shown["enforcementMode"].as_str()), (Some("deny_all"), Some("none")));
    let patch = json!([{"action": "allow", "target": "a.example"}]).to_string();
    daemon
        .client
        .ask("PATCH", &sandbox.path("networkpolicy"), patch.as_bytes())
        .expect_error(409, "SANDBOX::NO_NETWORK");
}

#[test]
fn another_mode_of_the_network_is_not_mistaken_for_that_of_the_sandbox() {
    let Some(world) = World::start("another_mode_of_the_network_is_not_mistaken_for_that_of_the_sandbox") else {
        return;
    };
    let mut daemon = world.daemon(CONFIG);
    let policed = daemon.create_from(&with_policy(&daemon, &json!({"defaultAction": "deny"}))).id;
    let plain = daemon.sleeper().id;
    let begin_again = |daemon: &mut Daemon, from: &str, to: &str| {
        let text = std::fs::read_to_string(daemon.path("config.toml")).expect("read");
        daemon.kill();
        std::fs::write(daemon.path("config.toml"), text.replace(from, to)).expect("written");
        daemon.launch();
    };
    let mode = |daemon: &Daemon, id: &str| {
        daemon.client.get(&daemon.sandbox(id).path("networkpolicy")).expect(200).json()["enforcementMode"].clone()
    };
    let patch = |daemon: &Daemon, id: &str| {
        let rules = json!([{"action": "allow", "target": "a.example"}]).to_string();
        daemon.client.ask("PATCH", &daemon.sandbox(id).path("networkpolicy"), rules.as_bytes())
    };
    begin_again(&mut daemon, "mode = \"bridge\"", "mode = \"none\"");
    let without = daemon.sleeper().id;
    for id in [&policed, &plain, &without] {
        assert_eq!(mode(&daemon, id), "none");
        patch(&daemon, id).expect_error(409, "SANDBOX::NO_NETWORK");
    }
    begin_again(&mut daemon, "mode = \"none\"", "mode = \"bridge\"");
    for id in [&policed, &plain] {
        assert_eq!(mode(&daemon, id), "dns+nft");
        patch(&daemon, id).expect(200);
    }
    assert_eq!(mode(&daemon, &without), "none");
    patch(&daemon, &without).expect_error(409, "SANDBOX::NO_NETWORK");
}
