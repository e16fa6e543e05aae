//! A change of a policy, and the connections that there are.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CONFIG, GATEWAY, Place};
use crate::harness::{Sandbox, World, wait};

/// Answers everything that comes over one connection, for as long as that lasts.
fn echo(world: &World, address: &str, port: u16) {
    let at = std::net::SocketAddr::new(address.parse().expect("an address"), port);
    let (tcp, udp) = world
        .outside
        .run(|| (std::net::TcpListener::bind(at).expect("bound"), std::net::UdpSocket::bind(at).expect("bound")));
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().expect("a clone"), &mut stream));
        }
    });
    std::thread::spawn(move || {
        let mut bytes = [0; 100];
        while let Ok((length, from)) = udp.recv_from(&mut bytes) {
            drop(udp.send_to(&bytes[..length], from));
        }
    });
}

/// Waits until the last lines of a talk are all this.
fn until_talk(sandbox: &Sandbox<'_>, expected: &str) {
    let lines = sandbox.log().lines().count();
    wait::until_within(Duration::from_secs(20), expected, || {
        let log = sandbox.log();
        let new: Vec<&str> = log.lines().skip(lines).collect();
        let last = new.len().checked_sub(4).map(|from| &new[from..]);
        if last.is_some_and(|last| last.iter().all(|line| *line == expected)) { Ok(()) } else { Err(new.join(" ")) }
    });
}

#[test]
fn a_change_is_in_force_for_connections_that_there_are() {
    let Some(place) = Place::start("a_change_is_in_force_for_connections_that_there_are") else { return };
    let daemon = place.world.daemon(CONFIG);
    for address in ["23.1.1.1", "2a05:1::1"] {
        echo(&place.world, address, 9999);
    }
    let put = |sandbox: &Sandbox<'_>, rules: Value| {
        let policy = json!({"defaultAction": "deny", "egress": rules});
        daemon.client.ask("PUT", &sandbox.path("proxy/18080/policy"), policy.to_string().as_bytes()).expect(200);
    };
    let name = json!([{"action": "allow", "target": "b.example"}]);
    let nets = json!([{"action": "allow", "target": "23.1.1.0/24"}, {"action": "allow", "target": "2a05:1::/32"}]);
    let other = json!([{"action": "allow", "target": "a.example"}, {"action": "allow", "target": "b.example"}]);
    for (kind, address) in [("tcp", "23.1.1.1"), ("udp", "23.1.1.1"), ("tcp", "2a05:1::1"), ("udp", "2a05:1::1")] {
        // Of the second the name was not answered when it asked, so nothing was learned of it.
        for (before, after, expected) in [
            (None, json!([{"action": "allow", "target": "a.example"}]), "silent"),
            (Some(&nets), name.clone(), "silent"),
            (Some(&name), other.clone(), "answered"),
            (Some(&name), json!([]), "silent"),
        ] {
            let mut request = daemon.request(&[
                "sh",
                "-c",
                &format!("probe ask udp {GATEWAY} b.example A b.example AAAA; exec probe talk {kind} {address} 9999"),
            ]);
            if let Some(rules) = before {
                request["networkPolicy"] = json!({"defaultAction": "deny", "egress": rules});
            }
            let sandbox = daemon.create_from(&request);
            until_talk(&sandbox, "answered");
            put(&sandbox, after.clone());
            until_talk(&sandbox, expected);
            sandbox.delete();
        }
    }
}
