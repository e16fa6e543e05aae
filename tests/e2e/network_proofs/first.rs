//! The first thing that a sandbox does, a thousand times: it sends to everybody whom it must not reach.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::counter::{self, towards};
use crate::harness::{Counters, Daemon, Namespace, World, probe, world};
use crate::network::{BRIDGE, addresses};
use crate::network_policy::GATEWAY;

const SANDBOXES: usize = 1000;
/// At the same time.
const WORKERS: usize = 8;

const KINDS: [&str; 3] = ["tcp", "udp", "ping"];
/// Neighbours of the host.
const NEAR: [&str; 2] = ["203.0.113.1", "2a02:9:9::1"];
const GATEWAYS: [&str; 2] = [GATEWAY, "fdb1:7000:211::1"];
/// Everybody may reach these two of the public Internet, and whoever has a policy no others.
const OPEN: [&str; 2] = [world::PUBLIC[0], world::PUBLIC[2]];
const OTHERS: [&str; 2] = [world::PUBLIC[1], world::PUBLIC[3]];

/// Packets to the host that come from sandboxes: what asks for names, and all the rest that is tried here.
fn to_the_host() -> [(&'static str, String); 4] {
    let from_sandboxes = |name, like: &str| (name, format!("iifname \"bvk*\" {like}"));
    [
        from_sandboxes("names", "udp dport 53"),
        from_sandboxes("closed", &format!("meta l4proto {{ tcp, udp }} th dport {}", world::PORT)),
        from_sandboxes("closed", "icmp type echo-request"),
        from_sandboxes("closed", "icmpv6 type echo-request"),
    ]
}

/// A request for a sandbox that sends to all of `closed`, each time beginning with another, then asks for a name, and then
/// waits for those that it may reach.
fn request(daemon: &Daemon, at: usize, closed: &[&str]) -> (Value, usize) {
    let each = closed.iter().flat_map(|address| KINDS.map(|kind| [kind, *address, "7777"]));
    let mut each: Vec<[&str; 3]> = each.collect();
    let begin = at % each.len();
    each.rotate_left(begin);
    each.push(["udp", GATEWAY, "53"]);
    let then = OPEN.iter().flat_map(|address| ["udp", *address, "7777"]);
    let argv: Vec<&str> = ["/bin/probe", "dash"].into_iter().chain(each.concat()).chain(["then"]).chain(then).collect();
    (daemon.request(&argv), each.len())
}

/// A whole life.
fn live(daemon: &Daemon, request: &Value, sent: usize) {
    let sandbox = daemon.create_from(request);
    sandbox.ended();
    let told: Value = serde_json::from_str(&sandbox.log()).unwrap_or_else(|_| panic!("{}", sandbox.log()));
    let then = [world::HOST[0], world::HOST[1]].map(|host| format!("answered: {host}"));
    assert_eq!(told, json!({ "first": { "sent": sent }, "then": then }));
    sandbox.delete();
}

#[test]
fn of_a_thousand_first_instructions_no_packet_is_seen() {
    let Some(world) = World::start("of_a_thousand_first_instructions_no_packet_is_seen") else { return };
    let daemon = world.daemon(BRIDGE);
    let neighbour = daemon.sleeper();
    let own = addresses(&daemon, &neighbour);
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let outside = [&world::PRIVATE[..], &NEAR].concat();
    let closed_to_policed = [&outside[..], &world::HOST, &GATEWAYS, &own, &OTHERS].concat();
    let closed = &closed_to_policed[..closed_to_policed.len() - OTHERS.len()];
    let seen_outside = [towards("closed", &[&outside[..], &OTHERS].concat()), towards("open", &OPEN)].concat();
    let seen_outside = Counters::start(&world.outside, counter::FIRST, &seen_outside);
    let seen_by_host = Counters::start(&world.host, counter::LAST, &to_the_host());
    let inside = Namespace::of(daemon.processes(&neighbour.id)[0]);
    let seen_by_neighbour = Counters::start(&inside, counter::FIRST, &towards("closed", &own));

    let allowed = OPEN.map(|address| json!({ "action": "allow", "target": address }));
    let policy = json!({ "defaultAction": "deny", "egress": allowed });
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < SANDBOXES) {
            let is_policed = at % 2 == 1;
            let (mut request, sent) = request(&daemon, at / 2, if is_policed { &closed_to_policed } else { closed });
            if is_policed {
                request["networkPolicy"] = policy.clone();
            }
            live(&daemon, &request, sent);
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let all = [&seen_outside, &seen_by_host, &seen_by_neighbour].map(|counters| counters.packets("closed"));
    assert_eq!(all, [0; 3]);
    // The counters do count: what may pass did, and what must not comes through where the host itself sends it.
    let sandboxes = SANDBOXES as u64;
    let passed = (seen_outside.packets("open"), seen_by_host.packets("names"));
    assert!(passed.0 >= 2 * sandboxes && passed.1 >= sandboxes, "{passed:?}");
    let each = [&outside[..], &OTHERS, &own].concat();
    let each = each.iter().flat_map(|address| ["udp", *address, "7777"]);
    let probe_all = ["dash"].into_iter().chain(each).collect::<Vec<_>>();
    world.host.command(&probe().display().to_string(), &probe_all);
    let seen = (seen_outside.packets("closed"), seen_by_neighbour.packets("closed"));
    let sent = ((outside.len() + OTHERS.len()) as u64, own.len() as u64);
    assert!(seen.0 >= sent.0 && seen.1 >= sent.1, "{seen:?} of {sent:?}");
}
