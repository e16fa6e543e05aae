//! Sandboxes with the network of the host, where the operator allows that.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::harness::{Daemon, Sandbox, World, until, world};
use crate::network::{addresses, check, output, reach};

const ALLOWED: &str = "[network]\nmode = \"bridge\"\nallow_host = true\n";

fn on_host<'a>(daemon: &'a Daemon, entrypoint: &[&str]) -> Sandbox<'a> {
    let mut request = daemon.request(entrypoint);
    request["extensions"] = json!({ "bivouac.network": "host" });
    daemon.create_from(&request)
}

fn namespace(world: &World) -> String {
    world.host.command("readlink", &["/proc/self/ns/net"]).trim().to_owned()
}

#[test]
fn the_network_of_the_host_is_for_who_asks() {
    let Some(world) = World::start("the_network_of_the_host_is_for_who_asks") else { return };
    world.answer_at(&world.host, "127.0.0.1", world::PORT);
    let daemon = world.daemon(ALLOWED);
    let sandbox = on_host(&daemon, &["sleep", "1000000"]);
    assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
    assert_eq!(addresses(&daemon, &sandbox), ["that of the host"]);
    assert_eq!(output(&sandbox, "busybox readlink /proc/self/ns/net"), namespace(&world));
    let told = reach(
        &sandbox,
        &[("tcp", "127.0.0.1".into()), ("tcp", "10.0.0.5".into()), ("udp", "2606:2800:220:1::34".into())],
    );
    assert_eq!(told, ["answered: 127.0.0.1", "answered: 203.0.113.10", "answered: 2a02:9:9::10"]);
    // The name is its own, and names are resolved as on the host.
    assert_eq!(output(&sandbox, "hostname"), sandbox.id.replace('-', "")[..12]);
    let of_host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("nameserver")).map(str::to_owned).collect()
    };
    assert_eq!(servers(&output(&sandbox, "cat /etc/resolv.conf")), servers(&of_host));
    // Whoever does not ask has what all others have.
    let other = daemon.sleeper();
    assert_ne!(output(&other, "busybox readlink /proc/self/ns/net"), namespace(&world));
    check(&other, &["10.0.0.5", "203.0.113.10"], false);
    sandbox.delete();
    check(&other, &["93.184.216.34"], true);
}

#[test]
fn no_right_of_a_sandbox_counts_in_the_network_of_the_host() {
    let Some(world) = World::start("no_right_of_a_sandbox_counts_in_the_network_of_the_host") else { return };
    let daemon = world.daemon(ALLOWED);
    let listen = format!("nc -ll -p {} -e echo hello", world::PORT);
    let neighbour = daemon.create(&["sh", "-c", &listen]);
    let at = addresses(&daemon, &neighbour)[0].clone();
    until("listening", || {
        let told = reach(&neighbour, &[("tcp", at.clone())]);
        if told == ["answered: hello"] { Ok(()) } else { Err(format!("{told:?}")) }
    });
    // Interfaces of prepared sandboxes come and go.
    let look = || {
        let told =
            ["addr show dev lo", "addr show dev up0", "route show", "-6 route show"].map(|what| world.host.ip(what));
        told.concat().lines().filter(|line| !line.contains("bvk")).map(str::to_owned).collect::<Vec<_>>()
    };
    let sandbox = on_host(&daemon, &["sleep", "1000000"]);
    let before = look();
    for refused in [
        "busybox ip link set lo down",
        "busybox ip addr add 10.9.9.9/32 dev lo",
        "busybox ip route add 10.9.9.0/24 dev lo",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "echo x > /sys/class/net/lo/ifalias",
        "busybox timeout 1 nc -l -p 80",
    ] {
        let told = output(&sandbox, &format!("({refused}) 2>&1; echo code $?"));
        assert!(!told.ends_with("code 0") && !told.ends_with("code 143"), "{refused}: {told}");
    }
    assert_eq!(look(), before);
    let forwards = world.host.run(|| fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("read"));
    assert_eq!(forwards.trim(), "1");
    // The other sandboxes are as closed to it as to every user of the host but root.
    assert!(reach(&sandbox, &[("tcp", at.clone())])[0].starts_with("failed"), "{at} was reached");
    assert_eq!(reach(&neighbour, &[("tcp", at)]), ["answered: hello"]);
}

#[test]
fn no_way_of_a_sandbox_leads_to_the_ports_of_the_host() {
    let Some(world) = World::start("no_way_of_a_sandbox_leads_to_the_ports_of_the_host") else { return };
    world.answer_at(&world.host, "127.0.0.1", world::PORT);
    let mut daemon = world.daemon(ALLOWED);
    let id = on_host(&daemon, &["sleep", "1000000"]).id;
    for _ in 0..2 {
        let sandbox = daemon.sandbox(&id);
        // The exec API needs no network, and holds no port of the host.
        assert_eq!(output(&sandbox, "echo hello"), "hello");
        let probe = SocketAddr::from(([127, 0, 0, 1], 44771));
        assert!(world.host.run(|| TcpStream::connect(probe)).is_err(), "a port of the host is held");
        let path = sandbox.path(&format!("proxy/{}/", world::PORT));
        let refused = daemon.client.get(&path).expect_error(409, "SANDBOX::HOST_NETWORK");
        assert!(refused.text().contains("is the host's"), "{refused}");
        let rules = json!([{"action": "allow", "target": "8.8.8.8"}]);
        daemon.client.patch(&sandbox.path("networkpolicy"), &rules).expect_error(409, "SANDBOX::HOST_NETWORK");
        assert_eq!(world.seen(), []);
        // So it is when another daemon has found it again.
        daemon.kill();
        daemon.launch();
    }
}

#[test]
fn without_the_operators_word_nobody_has_the_network_of_the_host() {
    let Some(world) = World::start("without_the_operators_word_nobody_has_the_network_of_the_host") else { return };
    let daemon = world.daemon("[network]\nmode = \"none\"\n");
    let mut request: Value = daemon.request(&["sleep", "1000000"]);
    request["extensions"] = json!({ "bivouac.network": "host" });
    let refused = daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
    assert!(refused.text().contains("allow_host = true"), "{refused}");
}

#[test]
fn a_sandbox_with_the_network_of_the_host_leaves_nothing_behind() {
    let Some(world) = World::start("a_sandbox_with_the_network_of_the_host_leaves_nothing_behind") else { return };
    let daemon = world.daemon(ALLOWED);
    let before = daemon.settled();
    let sandbox = on_host(&daemon, &["sleep", "1000000"]);
    assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
    sandbox.delete();
    daemon.check_left(&before);
    // Those of prepared sandboxes, and the gateway's: the place that it was taken from had one as well.
    until("its interface is gone", || {
        let links = world.host.ip("-o link show");
        if links.matches(": bvk").count() == 5 { Ok(()) } else { Err(links) }
    });
}
