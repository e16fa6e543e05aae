//! What sandboxes reach, and what they do not, in a world of the test's own.

use serde_json::{Value, json};

use crate::harness::counter::{self, towards};
use crate::harness::{Counters, Daemon, Namespace, Sandbox, World, until, world};

pub const BRIDGE: &str = "[network]\nmode = \"bridge\"\n";

/// What a sandbox is told by those whom it asks, by kind and address.
pub fn reach(sandbox: &Sandbox<'_>, wanted: &[(&str, String)]) -> Vec<String> {
    let mut argv = vec!["/bin/probe".to_owned(), "reach".to_owned()];
    for (kind, address) in wanted {
        argv.extend([(*kind).to_owned(), address.clone(), world::PORT.to_string()]);
    }
    let answer = sandbox.post("proxy/44772/command", &json!({ "argv": argv })).expect(200).text();
    let frames = answer.split_terminator("\n\n").map(|frame| frame.trim_start_matches("data: "));
    let events = frames.map(|frame| serde_json::from_str::<Value>(frame).expect("an event"));
    let text: String = events
        .filter(|event| event["type"] == "stdout")
        .map(|e| e["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{answer}"))
}

/// What a command prints.
pub fn output(sandbox: &Sandbox<'_>, command: &str) -> String {
    let answer = sandbox.post("proxy/44772/command", &json!({ "command": command })).expect(200).text();
    let frames = answer.split_terminator("\n\n").map(|frame| frame.trim_start_matches("data: "));
    let events = frames.map(|frame| serde_json::from_str::<Value>(frame).expect("an event"));
    let lines =
        events.filter_map(|event| event["text"].as_str().map(str::to_owned).filter(|_| event["type"] != "init"));
    lines.collect::<Vec<_>>().join("\n")
}

/// TCP, UDP and echo requests to all of these.
fn everything(addresses: &[&str]) -> Vec<(&'static str, String)> {
    let kinds = ["tcp", "udp", "ping"];
    addresses.iter().flat_map(|address| kinds.map(|kind| (kind, (*address).to_owned()))).collect()
}

#[track_caller]
pub fn check(sandbox: &Sandbox<'_>, addresses: &[&str], reached: bool) {
    let wanted = everything(addresses);
    let told = reach(sandbox, &wanted);
    for (what, told) in wanted.iter().zip(&told) {
        assert_eq!(told.starts_with("answered"), reached, "{what:?}: {told}");
    }
}

/// The sandbox's addresses.
pub fn addresses(daemon: &Daemon, sandbox: &Sandbox<'_>) -> Vec<String> {
    let text = daemon.client.get(&sandbox.path("diagnostics/inspect")).expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix("Network:")).unwrap_or_else(|| panic!("{text}"));
    line.split(',').map(|address| address.trim().to_owned()).collect()
}

fn host_ip(host: &Namespace) -> String {
    host.command("ip", &["-o", "link", "show"])
}

#[test]
fn the_public_is_reached_and_nothing_else() {
    let Some(world) = World::start("the_public_is_reached_and_nothing_else") else { return };
    let daemon = world.daemon(BRIDGE);
    for address in world::HOST {
        world.answer_at(&world.host, address, world::PORT);
    }
    let sandbox = daemon.sleeper();
    let told = reach(&sandbox, &everything(&world::PUBLIC));
    assert!(told.iter().all(|told| told.starts_with("answered")), "{told:?}");
    assert_eq!((told[0].as_str(), told[6].as_str()), ("answered: 203.0.113.10", "answered: 2a02:9:9::10"));
    drop(world.seen());
    check(&sandbox, &world::PRIVATE, false);
    check(&sandbox, &world::HOST, false);
    let gateway = ["10.211.0.1", "fdb1:7000:211::1"];
    gateway.iter().for_each(|address| world.answer_at(&world.host, address, world::PORT));
    check(&sandbox, &gateway, false);
    assert_eq!(world.seen(), []);
}

#[test]
fn sandboxes_do_not_reach_each_other() {
    let Some(world) = World::start("sandboxes_do_not_reach_each_other") else { return };
    let daemon = world.daemon(BRIDGE);
    let listen = format!("nc -ll -p {} -e echo hello", world::PORT);
    let sandboxes: Vec<Sandbox<'_>> = (0..20).map(|_| daemon.create(&["sh", "-c", &listen])).collect();
    let all: Vec<Vec<String>> = sandboxes.iter().map(|sandbox| addresses(&daemon, sandbox)).collect();
    let (own, flat) = (all[0].iter().map(String::as_str).collect::<Vec<_>>(), all.concat());
    until("listening", || {
        let told = reach(&sandboxes[0], &[("tcp", own[0].to_owned())]);
        if told == ["answered: hello"] { Ok(()) } else { Err(format!("{told:?}")) }
    });
    std::thread::scope(|scope| {
        for (sandbox, own) in sandboxes.iter().zip(&all) {
            let others = flat.iter().filter(|one| !own.contains(one));
            let others: Vec<&str> = others.map(String::as_str).collect();
            assert_eq!(others.len(), 38);
            scope.spawn(move || check(sandbox, &others, false));
        }
    });
    // Root on the host does reach them.
    let hello = world.host.run(|| std::net::TcpStream::connect((own[0], world::PORT)).map(drop));
    assert!(hello.is_ok(), "{hello:?}");
    // Nobody from outside does, even with a route.
    world.outside.ip("route add 10.211.0.0/16 via 203.0.113.10");
    let outside = world.outside.run(|| {
        let to = std::net::SocketAddr::new(own[0].parse().expect("an address"), world::PORT);
        std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_millis(500)).map(drop)
    });
    assert!(outside.is_err());
}

#[test]
fn what_the_operator_opens_is_reached() {
    let Some(world) = World::start("what_the_operator_opens_is_reached") else { return };
    let daemon = world.daemon(&format!("{BRIDGE}open = [\"10.0.0.0/24\", \"fd12::5\"]\n"));
    let sandbox = daemon.sleeper();
    check(&sandbox, &["10.0.0.5", "fd12::5"], true);
    check(&sandbox, &["172.16.0.5", "fd00:ec2::254", "169.254.169.254"], false);
}

#[test]
fn the_rules_outlive_the_daemon_and_the_next_one_finds_its_own() {
    let Some(world) = World::start("the_rules_outlive_the_daemon_and_the_next_one_finds_its_own") else { return };
    let mut daemon = world.daemon(BRIDGE);
    let id = daemon.sleeper().id;
    let before = addresses(&daemon, &daemon.sandbox(&id));
    let rules = || world.host.command("nft", &["-s", "list", "chains"]);
    let standing = rules();
    daemon.kill();
    assert_eq!(rules(), standing);
    daemon.launch();
    let sandbox = daemon.sandbox(&id);
    assert_eq!(addresses(&daemon, &sandbox), before);
    check(&sandbox, &["93.184.216.34", "2606:2800:220:1::34"], true);
    check(&sandbox, &["169.254.169.254", "fd00:ec2::254"], false);
    // What the first daemon had prepared is nobody's, and goes.
    until("only the second daemon's are left", || {
        let links = host_ip(&world.host).matches(": bvk").count();
        // One is the gateway's.
        if links == 6 { Ok(()) } else { Err(host_ip(&world.host)) }
    });
}

#[test]
fn a_sandbox_leaves_nothing_behind() {
    let Some(world) = World::start("a_sandbox_leaves_nothing_behind") else { return };
    let daemon = world.daemon(BRIDGE);
    let sandbox = daemon.sleeper();
    check(&sandbox, &["93.184.216.34"], true);
    let address = addresses(&daemon, &sandbox)[0].clone();
    let link = format!("bvk{}", &sandbox.id.replace('-', "")[..12]);
    assert!(host_ip(&world.host).contains(&link));
    sandbox.delete();
    until("gone", || {
        let links = host_ip(&world.host);
        let routes = world.host.ip("route show");
        let rules = world.host.command("nft", &["list", "ruleset"]);
        let connections =
            world.host.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default());
        let left = [&links, &routes, &connections].iter().any(|text| text.contains(&link) || text.contains(&address));
        if left { Err(format!("{links}\n{routes}\n{connections}\n{rules}")) } else { Ok(()) }
    });
}

#[test]
fn rules_that_somebody_removed_come_back() {
    let Some(world) = World::start("rules_that_somebody_removed_come_back") else { return };
    let daemon = world.daemon(BRIDGE);
    let sandbox = daemon.sleeper();
    world.host.command("nft", &["flush", "ruleset"]);
    until("in force again", || {
        let rules = world.host.command("nft", &["list", "ruleset"]);
        if rules.contains("masquerade") { Ok(()) } else { Err(rules) }
    });
    until("reached again", || {
        let told = reach(&sandbox, &[("tcp", "93.184.216.34".to_owned())]);
        if told[0].starts_with("answered") { Ok(()) } else { Err(told.join(" ")) }
    });
    check(&sandbox, &["169.254.169.254"], false);
}

#[test]
fn without_a_network_there_is_none() {
    let Some(world) = World::start("without_a_network_there_is_none") else { return };
    let daemon = world.daemon(BRIDGE);
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["extensions"] = json!({ "bivouac.network": "none" });
    let sandbox = daemon.create_from(&request);
    assert_eq!(addresses(&daemon, &sandbox), ["loopback only"]);
    check(&sandbox, &["93.184.216.34", "2606:2800:220:1::34", "10.211.0.1"], false);
    request["extensions"] = json!({ "bivouac.network": "wifi" });
    daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
}

#[test]
fn names_are_resolved_by_the_gateway_alone() {
    let Some(world) = World::start("names_are_resolved_by_the_gateway_alone") else { return };
    world.name("203.0.113.1");
    let daemon = world.daemon(&format!("{BRIDGE}resolvers = [\"203.0.113.1\"]\n"));
    let sandbox = daemon.sleeper();
    let found = output(&sandbox, "/bin/busybox nslookup -type=a site.example");
    assert!(found.contains("93.184.216.34") && found.contains("10.211.0.1"), "{found}");
    let missing = output(&sandbox, "/bin/busybox nslookup -type=a missing.example");
    assert!(missing.contains("NXDOMAIN"), "{missing}");
    // The resolver of the host's network is for the daemon, and not for sandboxes.
    let around = output(&sandbox, "/bin/busybox nslookup -type=a site.example 203.0.113.1");
    assert!(!around.contains("93.184.216.34"), "{around}");
}

#[test]
fn a_sandbox_is_told_its_name() {
    let Some(world) = World::start("a_sandbox_is_told_its_name") else { return };
    let daemon = world.daemon(BRIDGE);
    let sandbox = daemon.sleeper();
    let name = sandbox.id.replace('-', "")[..12].to_owned();
    let own = addresses(&daemon, &sandbox);
    let hosts = output(&sandbox, "cat /etc/hosts");
    assert!(own.iter().all(|address| hosts.contains(&format!("{address}\t{name}"))), "{hosts}");
    assert_eq!(output(&sandbox, "cat /etc/resolv.conf"), "nameserver 10.211.0.1");
    assert_eq!(output(&sandbox, "cat /etc/hostname"), name);
    // Every user of it looks names up, and not root alone.
    let as_user = json!({ "command": "cat /etc/resolv.conf /etc/hosts /etc/hostname", "uid": 1000, "gid": 1000 });
    let read = sandbox.post("proxy/44772/command", &as_user).expect(200).text();
    assert!(read.contains("nameserver 10.211.0.1") && !read.contains("denied"), "{read}");
    // They are the sandbox's own, to change as it likes.
    assert_eq!(output(&sandbox, "echo 1.1.1.1 one >> /etc/hosts && tail -n 1 /etc/hosts"), "1.1.1.1 one");
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["extensions"] = json!({ "bivouac.network": "none" });
    let alone = daemon.create_from(&request);
    let hosts = output(&alone, "cat /etc/hosts");
    assert!(hosts.contains(&format!("127.0.0.1\t{}", &alone.id.replace('-', "")[..12])), "{hosts}");
    assert!(!output(&alone, "cat /etc/resolv.conf").contains("nameserver"));
}

#[test]
fn the_rules_hold_while_no_daemon_is_there() {
    let Some(world) = World::start("the_rules_hold_while_no_daemon_is_there") else { return };
    let counters = Counters::start(&world.outside, counter::FIRST, &towards("closed", &world::PRIVATE));
    let mut daemon = world.daemon(BRIDGE);
    let script = "while :; do probe reach tcp 93.184.216.34 7777 tcp 169.254.169.254 7777 udp fd00:ec2::254 7777; done";
    let id = daemon.create(&["sh", "-c", script]).id;
    until("reached", || if world.seen().is_empty() { Err("nobody came".to_owned()) } else { Ok(()) });
    daemon.kill();
    drop(world.seen());
    for _ in 0..3 {
        until(
            "reached without a daemon",
            || if world.seen().is_empty() { Err("nobody came".to_owned()) } else { Ok(()) },
        );
    }
    assert_eq!(counters.packets("closed"), 0);
    daemon.launch();
    daemon.sandbox(&id).delete();
}
