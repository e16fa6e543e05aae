//! What one sandbox may take of the network of all: connections, bandwidth; and who its neighbours are.

use std::io::Read;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Daemon, Sandbox, World, until, world};
use crate::network::{BRIDGE, addresses, check, output, reach};

/// A sandbox that asks for this.
fn asking<'a>(daemon: &'a Daemon, extensions: &serde_json::Value) -> Sandbox<'a> {
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["extensions"] = extensions.clone();
    daemon.create_from(&request)
}

/// How many of so many questions are answered, each from a port of its own; the host remembers each for half a minute.
fn answered(sandbox: &Sandbox<'_>, count: usize) -> usize {
    let address = world::PUBLIC[0].to_owned();
    let told = reach(sandbox, &vec![("udp", address); count]);
    told.iter().filter(|told| told.starts_with("answered")).count()
}

#[test]
fn a_sandbox_has_so_many_connections_and_others_have_theirs() {
    let Some(world) = World::start("a_sandbox_has_so_many_connections_and_others_have_theirs") else { return };
    let mut daemon = world.daemon(&format!("{BRIDGE}max_connections = 60\n"));
    let (greedy, small, other) = {
        let (greedy, other) = (daemon.sleeper(), daemon.sleeper());
        let small = asking(&daemon, &json!({ "bivouac.network.connections": "10" }));
        (greedy.id, small.id, other.id)
    };
    let greedy = daemon.sandbox(&greedy);
    let first = answered(&greedy, 100);
    // The kernel counts a little late where many begin in the same moment.
    assert!((50..=63).contains(&first), "{first}");
    assert!(answered(&greedy, 20) <= 63 - first);
    let of_small = answered(&daemon.sandbox(&small), 30);
    assert!((5..=12).contains(&of_small), "{of_small}");
    assert_eq!(answered(&daemon.sandbox(&other), 20), 20);
    // The next daemon knows what was agreed, also when it has to make the rules anew.
    daemon.kill();
    world.host.command("nft", &["flush", "ruleset"]);
    daemon.launch();
    let of_small = answered(&daemon.sandbox(&small), 30);
    assert!(of_small <= 12, "{of_small}");
    let mut request = daemon.request(&["true"]);
    for (name, value) in [("connections", "61"), ("connections", "0"), ("connections", "many"), ("bandwidth", "1")] {
        request["extensions"] = json!({ format!("bivouac.network.{name}"): value });
        daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
    }
}

/// Seconds that half a megabyte takes from the sandbox to somebody outside, from its first byte on.
fn half_a_megabyte(world: &World, sandbox: &Sandbox<'_>) -> f64 {
    let listener = world.outside.run(|| TcpListener::bind((world::PUBLIC[0], 0)).expect("bound"));
    let port = listener.local_addr().expect("an address").port();
    let taker = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream.read_exact(&mut [0]).expect("a byte");
        let start = Instant::now();
        stream.read_exact(&mut vec![0; (512 << 10) - 1]).expect("the rest");
        start.elapsed().as_secs_f64()
    });
    output(sandbox, &format!("dd if=/dev/zero bs=4k count=128 2>/dev/null | nc {} {port}", world::PUBLIC[0]));
    taker.join().expect("taken")
}

#[test]
fn a_sandbox_sends_no_faster_than_it_may() {
    let Some(world) = World::start("a_sandbox_sends_no_faster_than_it_may") else { return };
    let daemon = world.daemon(&format!("{BRIDGE}max_bandwidth = \"512Ki\"\n"));
    let usual = half_a_megabyte(&world, &daemon.sleeper());
    assert!(usual > 0.7, "{usual}");
    let slow = half_a_megabyte(&world, &asking(&daemon, &json!({ "bivouac.network.bandwidth": "256Ki" })));
    assert!(slow > 1.4, "{slow}");
    let mut request = daemon.request(&["true"]);
    request["extensions"] = json!({ "bivouac.network.bandwidth": "1Mi" });
    daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
    request["extensions"] = json!({ "bivouac.network.bandwidth": "100Ki", "bivouac.network": "none" });
    daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
}

#[test]
fn neighbours_of_the_host_are_not_reached() {
    let Some(world) = World::start("neighbours_of_the_host_are_not_reached") else { return };
    world.outside.ip("addr add 2a02:9:9::77/64 dev line0 nodad");
    world.outside.ip("addr add 45.8.8.77/24 dev line0");
    let neighbours = ["2a02:9:9::77", "45.8.8.77"];
    neighbours.iter().for_each(|address| world.answer_at(&world.outside, address, world::PORT));
    let daemon = world.daemon(BRIDGE);
    let sandbox = daemon.sleeper();
    check(&sandbox, &neighbours[..1], false);
    // The host comes to another network while the daemon runs.
    check(&sandbox, &neighbours[1..], true);
    world.host.ip("addr add 45.8.8.1/24 dev up0");
    until("closed", || {
        let told = reach(&sandbox, &[("tcp", neighbours[1].to_owned())]);
        if told[0].starts_with("failed") { Ok(()) } else { Err(told.join(" ")) }
    });
    check(&sandbox, &neighbours, false);
    check(&sandbox, &world::PUBLIC, true);
    drop(daemon);
    let open = world.daemon(&format!("{BRIDGE}open = [\"2a02:9:9::/64\", \"45.8.8.77\"]\n"));
    check(&open.sleeper(), &neighbours, true);
}

#[test]
fn whatever_is_taken_out_of_the_rules_is_put_back_at_once() {
    let Some(world) = World::start("whatever_is_taken_out_of_the_rules_is_put_back_at_once") else { return };
    let daemon = world.daemon(BRIDGE);
    let sandbox = daemon.sleeper();
    let listed = world.host.command("nft", &["list", "tables"]);
    let table = listed.split_whitespace().last().expect("a table").to_owned();
    let list = |kind: &str, name: &str| {
        let all = world.host.run(|| Command::new("nft").args(["-s", "list", kind, "inet", &table, name]).output());
        String::from_utf8_lossy(&all.expect("started").stdout).into_owned()
    };
    let lasting = || [list("set", "closed4"), list("set", "near6"), list("chain", "outbound"), list("chain", "from")];
    let standing = lasting();
    let damages = [
        "flush ruleset".to_owned(),
        format!("delete table inet {table}"),
        format!("flush chain inet {table} outbound"),
        format!("flush set inet {table} closed4"),
        format!("flush set inet {table} near6"),
        format!("flush set inet {table} sources6"),
    ];
    let start = Instant::now();
    for damage in &damages {
        world.host.command("nft", &[damage]);
        until("as before", || {
            let (now, members) = (lasting(), list("set", "sources6"));
            // The key of an element is shown as one number.
            let there = now == standing && members.contains("elements");
            if there { Ok(()) } else { Err(format!("after {damage}: {now:?} {members}")) }
        });
    }
    // Who only looks every two seconds takes six on average.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    check(&sandbox, &["169.254.169.254", "2a02:9:9::1"], false);
    check(&sandbox, &["93.184.216.34", "2606:2800:220:1::34"], true);
}

#[test]
fn what_goes_through_and_what_is_refused_is_counted() {
    let Some(world) = World::start("what_goes_through_and_what_is_refused_is_counted") else { return };
    let daemon = world.daemon(&format!("{BRIDGE}max_connections = 30\n"));
    let (sandbox, idle) = (daemon.sleeper(), daemon.sleeper());
    half_a_megabyte(&world, &sandbox);
    let other = addresses(&daemon, &idle).remove(0);
    let asked = ["169.254.169.254", "fd12::5", world::HOST[0], "10.211.0.1", &other];
    drop(reach(&sandbox, &asked.map(|address| ("udp", address.to_owned()))));
    answered(&sandbox, 40);
    let stats = daemon.client.get(&sandbox.path("stats")).expect(200).json();
    let count =
        |pointer: &str| stats.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{stats}"));
    assert!(count("/network/sent/bytes") > 512 << 10 && count("/network/sent/bytes") < 600 << 10, "{stats}");
    assert!(count("/network/received/bytes") > 1000 && count("/network/received/packets") > 30, "{stats}");
    let reasons = &stats["network"]["refusedByReason"];
    assert_eq!(
        (&reasons["range"], &reasons["host"], &reasons["sandbox"]),
        (&json!(2), &json!(2), &json!(1)),
        "{stats}"
    );
    assert!(count("/network/refusedByReason/connections") >= 10, "{stats}");
    let sum: u64 = reasons.as_object().expect("reasons").values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(count("/network/refused/packets"), sum, "{stats}");
    let metrics = daemon.client.get("/metrics").expect(200).text();
    let line =
        format!("bivouac_sandbox_network_refused_packets_total{{sandbox=\"{}\",reason=\"range\"}} 2\n", sandbox.id);
    assert!(metrics.contains(&line), "{metrics}");
    let inspected = daemon.client.get(&sandbox.path("diagnostics/inspect")).expect(200).text();
    assert!(inspected.lines().any(|line| line.starts_with("Network use:") && line.contains("range 2")), "{inspected}");
}

#[test]
fn doctor_says_what_the_network_needs() {
    let Some(world) = World::start("doctor_says_what_the_network_needs") else { return };
    let look = || {
        let text = world.host.command(env!("CARGO_BIN_EXE_bivouac"), &["doctor", "--json"]);
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).expect("findings");
        let found = |name: &str| {
            let one = all.iter().find(|finding| finding["feature"].as_str().is_some_and(|text| text.contains(name)));
            one.unwrap_or_else(|| panic!("{text}"))["found"] == json!(true)
        };
        ["veth", "nf_tables", "nf_conntrack", "forwarding of IPv4", "forwarding of IPv6"].map(found)
    };
    let before = (world.host.command("ip", &["-o", "link"]), world.host.command("nft", &["list", "ruleset"]));
    assert_eq!(look(), [true, true, true, false, false]);
    let after = (world.host.command("ip", &["-o", "link"]), world.host.command("nft", &["list", "ruleset"]));
    assert_eq!(before, after);
    drop(world.daemon(BRIDGE));
    assert_eq!(look(), [true; 5]);
}
