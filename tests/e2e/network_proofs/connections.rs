//! What the host still has to say to a sandbox that has gone: which connections are forgotten, and where an answer does not go.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use serde_json::json;

use crate::harness::counter::{self, towards};
use crate::harness::{Counters, Sandbox, World, until, world};
use crate::network::{BRIDGE, addresses};
use crate::network_policy::{probed, reach};

/// Those that the host knows, from one address to another. Nobody goes on with what is over one datagram, so none comes back.
fn tracked(world: &World) -> Vec<(IpAddr, IpAddr)> {
    let text = world.host.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").expect("a list"));
    let end = |line: &str, key: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(key)).unwrap_or_else(|| panic!("{line}"));
        word.parse::<IpAddr>().unwrap_or_else(|_| panic!("{line}"))
    };
    let udp = text.lines().filter(|line| line.contains(" udp "));
    udp.map(|line| (end(line, "src="), end(line, "dst="))).collect()
}

fn pairs(own: &[IpAddr], to: &[&str]) -> Vec<(IpAddr, IpAddr)> {
    let to: Vec<IpAddr> = to.iter().map(|address| address.parse().expect("an address")).collect();
    let same = |(from, to): &(IpAddr, IpAddr)| from.is_ipv4() == to.is_ipv4();
    own.iter().flat_map(|own| to.iter().map(|to| (*own, *to))).filter(same).collect()
}

#[test]
fn a_sandbox_takes_its_own_connections_along_and_no_others() {
    let Some(world) = World::start("a_sandbox_takes_its_own_connections_along_and_no_others") else { return };
    let daemon = world.daemon(BRIDGE);
    let begin = |sandbox: &Sandbox<'_>| -> Vec<IpAddr> {
        until("answered", || {
            let told = probed(sandbox, &reach(&["udp"], &world::PUBLIC));
            if told.iter().all(|told| told.starts_with("answered")) { Ok(()) } else { Err(told.join(" ")) }
        });
        addresses(&daemon, sandbox).iter().map(|address| address.parse().expect("an address")).collect()
    };
    let (first, second, changed) = (daemon.sleeper(), daemon.sleeper(), daemon.sleeper());
    let [of_first, of_second, of_changed] = [&first, &second, &changed].map(begin);
    // The host's own, too.
    let own = world.host.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bound"));
    own.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    own.send_to(b"?", (world::PUBLIC[2], world::PORT)).expect("sent");
    own.recv(&mut [0; 100]).expect("an answer");
    let host: IpAddr = world::HOST[1].parse().expect("an address");
    let of_host = (host, world::PUBLIC[2].parse().expect("an address"));
    let lasting = [pairs(&of_second, &world::PUBLIC), vec![of_host]].concat();
    let all = [pairs(&of_first, &world::PUBLIC), pairs(&of_changed, &world::PUBLIC), lasting.clone()].concat();
    let there = tracked(&world);
    assert!(all.iter().all(|pair| there.contains(pair)), "{all:?} {there:?}");

    let open = [world::PUBLIC[0], world::PUBLIC[2]];
    let rules = open.map(|address| json!({ "action": "allow", "target": address }));
    let policy = json!({ "defaultAction": "deny", "egress": rules }).to_string();
    daemon.client.ask("PUT", &changed.path("networkpolicy"), policy.as_bytes()).expect(200);
    let there = tracked(&world);
    for pair in all {
        let forbidden = of_changed.contains(&pair.0) && !pairs(&of_changed, &open).contains(&pair);
        assert_eq!(there.contains(&pair), !forbidden, "{pair:?} {there:?}");
    }
    first.delete();
    let there = until("forgotten", || {
        let there = tracked(&world);
        if there.iter().any(|(from, _)| of_first.contains(from)) { Err(format!("{there:?}")) } else { Ok(there) }
    });
    let lasting = [pairs(&of_changed, &open), lasting].concat();
    assert!(lasting.iter().all(|pair| there.contains(pair)), "{lasting:?} {there:?}");
}

#[test]
fn an_answer_to_one_who_has_gone_stays_on_the_host() {
    let Some(world) = World::start("an_answer_to_one_who_has_gone_stays_on_the_host") else { return };
    let _daemon = world.daemon(BRIDGE);
    let (gone, elsewhere) = (["10.211.77.77", "fdb1:7000:211::77"], ["10.212.77.77", "fdb1:7000:212::77"]);
    let seen = [towards("gone", &gone), towards("elsewhere", &elsewhere)].concat();
    let seen = Counters::start(&world.outside, counter::FIRST, &seen);
    let send = |to: &str, port| {
        let to = std::net::SocketAddr::new(to.parse().expect("an address"), port);
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        world.host.run(|| UdpSocket::bind(any).and_then(|socket| socket.send_to(b"?", to)).map(drop))
    };
    assert!(gone.iter().all(|to| send(to, 9).is_err()));
    assert!(elsewhere.iter().all(|to| send(to, 9).is_ok()));
    assert_eq!((seen.packets("gone"), seen.packets("elsewhere")), (0, 2));
    // The host itself may ask the resolver.
    assert!(["10.211.0.1", "fdb1:7000:211::1"].iter().all(|to| send(to, 53).is_ok()));
}
