//! Which network sandboxes have where the operator leaves that to the host.

use std::fs;
use std::net::UdpSocket;

use serde_json::{Value, json};

use crate::harness::{Daemon, Namespace, World, until, world};
use crate::network::{addresses, check, reach};

/// Nothing is said of the mode.
const UNSAID: &str = "[network]\nresolvers = [\"203.0.113.1\"]\n";

const FORWARDING: [&str; 2] = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];

/// Whether the host passes packets of IPv4 and IPv6 on.
fn pass_on(host: &Namespace, families: [bool; 2]) {
    host.run(|| {
        for (path, on) in FORWARDING.iter().zip(families) {
            fs::write(path, if on { "1" } else { "0" }).expect("written");
        }
    });
}

/// The host's own rules, as an operator would write them.
fn rules(host: &Namespace, lines: &[&str]) {
    lines.iter().for_each(|line| drop(host.command("nft", &[line])));
}

const CLOSED: [&str; 2] =
    ["add table ip filter", "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"];

/// Nothing of ours is on this host.
fn check_untouched(host: &Namespace) {
    let (links, rules) = (host.command("ip", &["-o", "link", "show"]), host.command("nft", &["list", "tables"]));
    assert!(!links.contains("bvk") && !rules.contains("inet"), "{links}\n{rules}");
}

/// The line of the log that tells the mode.
fn decision(daemon: &Daemon) -> String {
    let log = fs::read_to_string(daemon.path("daemon.log")).expect("a log");
    let line = log.lines().rfind(|line| line.contains("the network of sandboxes"));
    line.unwrap_or_else(|| panic!("{log}")).to_owned()
}

fn mode(daemon: &Daemon) -> Value {
    daemon.client.get("/version").expect(200).json()["network"].clone()
}

/// What doctor finds of this feature, for a daemon with this configuration.
fn finding(host: &Namespace, config: &str, feature: &str) -> Value {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), config).expect("written");
    let arguments = ["doctor", "--json", "--config", &file.path().display().to_string()];
    let told = host.command(env!("CARGO_BIN_EXE_bivouac"), &arguments);
    let all: Vec<Value> = serde_json::from_str(&told).expect("JSON");
    all.into_iter().find(|one| one["feature"].as_str().is_some_and(|name| name.ends_with(feature))).expect("a finding")
}

/// Whoever asks for a network hears why there is none, and nothing is made.
#[track_caller]
fn check_refused(daemon: &Daemon, why: &str) {
    for (key, value) in [
        ("extensions", json!({"bivouac.network": "bridge"})),
        ("extensions", json!({"bivouac.network.connections": "10"})),
        ("networkPolicy", json!({"defaultAction": "deny"})),
    ] {
        let mut request = daemon.request(&["sleep", "1000000"]);
        request[key] = value;
        let refused = daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
        assert!(refused.text().contains(why), "{refused}");
    }
}

#[test]
fn a_host_that_passes_nothing_on_stays_as_it_is() {
    let Some(world) = World::start("a_host_that_passes_nothing_on_stays_as_it_is") else { return };
    pass_on(&world.host, [false, false]);
    let daemon = world.daemon(UNSAID);
    let why = "ip_forward is 0";
    assert!(decision(&daemon).contains(why) && mode(&daemon) == "none", "{}", decision(&daemon));
    let sandbox = daemon.sleeper();
    assert_eq!(addresses(&daemon, &sandbox), ["loopback only"]);
    check(&sandbox, &["93.184.216.34", "2606:2800:220:1::34"], false);
    check_refused(&daemon, why);
    check_untouched(&world.host);
    let still = world.host.run(|| FORWARDING.map(|path| fs::read_to_string(path).expect("read").trim().to_owned()));
    assert_eq!(still, ["0", "0"]);
}

#[test]
fn a_host_that_passes_packets_on_gives_a_network() {
    let Some(world) = World::start("a_host_that_passes_packets_on_gives_a_network") else { return };
    pass_on(&world.host, [true, false]);
    let mut daemon = world.daemon(UNSAID);
    assert!(decision(&daemon).contains("without IPv6") && mode(&daemon) == "bridge", "{}", decision(&daemon));
    let first = daemon.sleeper().id;
    assert_eq!(addresses(&daemon, &daemon.sandbox(&first)).len(), 1);
    check(&daemon.sandbox(&first), &["93.184.216.34"], true);
    check(&daemon.sandbox(&first), &["2606:2800:220:1::34", "10.0.0.5", "203.0.113.10"], false);
    daemon.stop();
    pass_on(&world.host, [true, true]);
    daemon.launch();
    assert!(!decision(&daemon).contains("without IPv6"), "{}", decision(&daemon));
    let second = daemon.sleeper();
    assert_eq!(addresses(&daemon, &second).len(), 2);
    check(&second, &world::PUBLIC, true);
    check(&second, &world::PRIVATE, false);
    check(&daemon.sandbox(&first), &["93.184.216.34"], true);
    // It has no address of IPv6, and none is told.
    assert_eq!(addresses(&daemon, &daemon.sandbox(&first)).len(), 1);
}

#[test]
fn rules_of_the_host_that_close_the_way_are_told() {
    let Some(world) = World::start("rules_of_the_host_that_close_the_way_are_told") else { return };
    pass_on(&world.host, [true, true]);
    rules(&world.host, &CLOSED);
    let mut daemon = world.daemon(UNSAID);
    let why = "chain FORWARD of table ip filter drops what is passed on: let 10.211.0.0/16 pass there";
    assert!(decision(&daemon).contains(why) && mode(&daemon) == "none", "{}", decision(&daemon));
    check_refused(&daemon, why);
    check_untouched(&world.host);
    let doctor = || finding(&world.host, "", "(mode auto)");
    assert!(doctor()["detail"].to_string().contains("chain FORWARD of table ip filter"), "{}", doctor());
    assert_eq!(doctor()["found"], false);
    let bridge = finding(&world.host, "[network]\nmode = 'bridge'\npool_v4 = '10.99.0.0/16'\n", "(mode bridge)");
    assert_eq!(bridge["found"], true);
    assert!(bridge["detail"].to_string().contains("unless 10.99.0.0/16 passes there"), "{bridge}");
    let taken = finding(&world.host, "[network]\nmode = 'bridge'\npool_v4 = '203.0.113.0/24'\n", "network");
    assert!(taken["detail"].to_string().contains("is not for private use"), "{taken}");
    check_untouched(&world.host);
    // As the host decides, and not as it was.
    daemon.stop();
    rules(&world.host, &["delete table ip filter"]);
    assert_eq!(doctor()["found"], true, "{}", doctor());
    daemon.launch();
    assert_eq!(mode(&daemon), "bridge", "{}", decision(&daemon));
    check(&daemon.sleeper(), &world::PUBLIC, true);
}

#[test]
fn a_network_that_does_not_open_leaves_nothing() {
    let Some(world) = World::start("a_network_that_does_not_open_leaves_nothing") else { return };
    pass_on(&world.host, [true, true]);
    let taken = world.host.run(|| UdpSocket::bind("0.0.0.0:53").expect("bound"));
    let mut daemon = world.daemon(UNSAID);
    assert!(decision(&daemon).contains("another resolver of this host"), "{}", decision(&daemon));
    assert_eq!(addresses(&daemon, &daemon.sleeper()), ["loopback only"]);
    check_untouched(&world.host);
    daemon.stop();
    drop(taken);
    world.host.ip("route add 10.211.4.0/24 via 203.0.113.1");
    daemon.launch();
    assert!(decision(&daemon).contains("this host has a route to 10.211.4.0/24"), "{}", decision(&daemon));
    check_untouched(&world.host);
    daemon.stop();
    world.host.ip("route del 10.211.4.0/24");
    daemon.launch();
    assert_eq!(mode(&daemon), "bridge", "{}", decision(&daemon));
}

#[test]
fn a_sandbox_keeps_its_network_while_a_daemon_has_none() {
    let Some(world) = World::start("a_sandbox_keeps_its_network_while_a_daemon_has_none") else { return };
    pass_on(&world.host, [true, true]);
    let mut daemon = world.daemon(UNSAID);
    let mut request = daemon.request(&["sleep", "1000000"]);
    let allowed = json!({"action": "allow", "target": "93.184.216.34"});
    request["networkPolicy"] = json!({"defaultAction": "deny", "egress": [allowed]});
    let [kept, policed] = [daemon.sleeper().id, daemon.create_from(&request).id];
    daemon.stop();
    // The way is open to who knows of it, and looks closed.
    rules(&world.host, &CLOSED);
    rules(&world.host, &["add rule ip filter FORWARD ip saddr 10.211.0.0/16 accept"]);
    rules(&world.host, &["add rule ip filter FORWARD ip daddr 10.211.0.0/16 accept"]);
    daemon.launch();
    assert_eq!(mode(&daemon), "none", "{}", decision(&daemon));
    check(&daemon.sandbox(&kept), &["93.184.216.34", "8.8.8.8", "2606:2800:220:1::34"], true);
    check(&daemon.sandbox(&kept), &["10.0.0.5", "fd12::5"], false);
    check(&daemon.sandbox(&policed), &["93.184.216.34"], true);
    check(&daemon.sandbox(&policed), &["8.8.8.8", "2606:2800:220:1::34"], false);
    assert_eq!(addresses(&daemon, &daemon.sleeper()), ["loopback only"]);
    let path = daemon.sandbox(&policed).path("networkpolicy");
    assert_eq!(daemon.client.get(&path).expect(200).json()["enforcementMode"], "none");
    let refused = daemon.client.patch(&path, &json!([{"action": "allow", "target": "8.8.8.8"}]));
    let refused = refused.expect_error(409, "SANDBOX::NO_NETWORK");
    assert!(refused.text().contains("chain FORWARD of table ip filter"), "{refused}");
    // Whoever takes its rules away leaves no way open, and they are back soon.
    assert_eq!(addresses(&daemon, &daemon.sandbox(&kept)).len(), 2);
    world.host.command("nft", &["flush ruleset"]);
    until("the rules are back", || {
        let tables = world.host.command("nft", &["list", "tables"]);
        if tables.contains("table inet bivouac") { Ok(()) } else { Err(tables) }
    });
    for (id, open) in [(&kept, true), (&policed, false)] {
        until("each reaches what it may", || {
            let told = reach(&daemon.sandbox(id), &[("tcp", "8.8.8.8".into()), ("tcp", "93.184.216.34".into())]);
            let answered = [told[0].starts_with("answered"), told[1].starts_with("answered")];
            if answered == [open, true] { Ok(()) } else { Err(format!("{told:?}")) }
        });
        check(&daemon.sandbox(id), &["10.0.0.5", "fd12::5", "203.0.113.10"], false);
    }
    let link = format!("bvk{}", &policed.replace('-', "")[..12]);
    assert!(world.host.ip("-o link show").contains(&link));
    daemon.sandbox(&policed).delete();
    until("its interface is gone", || {
        let links = world.host.ip("-o link show");
        if links.contains(&link) { Err(links) } else { Ok(()) }
    });
    daemon.stop();
    daemon.launch();
    assert_eq!(mode(&daemon), "bridge", "{}", decision(&daemon));
    check(&daemon.sandbox(&kept), &world::PUBLIC, true);
    check(&daemon.sleeper(), &world::PUBLIC, true);
}
