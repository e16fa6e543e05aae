//! Networks that sandboxes share by name.

use serde_json::{Value, json};

use crate::harness::{Daemon, Sandbox, World, until, world};
use crate::network::{BRIDGE, addresses, check, output, reach};

/// Waits for whoever comes.
fn request(daemon: &Daemon, network: Option<&str>) -> Value {
    let mut request = daemon.request(&["sh", "-c", &format!("nc -ll -p {} -e echo hello", world::PORT)]);
    if let Some(network) = network {
        request["extensions"] = json!({ "bivouac.network.name": network });
    }
    request
}

/// A sandbox that listens, in this network.
fn member<'a>(daemon: &'a Daemon, network: Option<&str>) -> Sandbox<'a> {
    let sandbox = daemon.create_from(&request(daemon, network));
    listening(daemon, &sandbox);
    sandbox
}

fn listening(daemon: &Daemon, sandbox: &Sandbox<'_>) {
    let own = addresses(daemon, sandbox);
    until("listening", || {
        let told = reach(sandbox, &[("tcp", own[0].clone()), ("tcp", own[1].clone())]);
        if told == ["answered: hello", "answered: hello"] { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

/// Over TCP and with echo requests, in both families.
#[track_caller]
fn check_pair(daemon: &Daemon, from: &Sandbox<'_>, to: &Sandbox<'_>, reached: bool) {
    let wanted: Vec<(&str, String)> = addresses(daemon, to)
        .into_iter()
        .flat_map(|address| ["tcp", "ping"].map(|kind| (kind, address.clone())))
        .collect();
    for (what, told) in wanted.iter().zip(reach(from, &wanted)) {
        assert_eq!(told.starts_with("answered"), reached, "{what:?}: {told}");
    }
}

/// How many lines the rules of the packet filter have, and how many elements each of the sets for networks.
fn kept(world: &World) -> (usize, [usize; 3]) {
    let tables = world.host.command("nft", &["list", "tables"]);
    let table = tables.lines().find_map(|line| line.strip_prefix("table inet ")).expect("a table");
    let chains = world.host.command("nft", &["-s", "-t", "list", "table", "inet", table]);
    let elements = |kind: &str, name: &str| {
        let told = world.host.command("nft", &["list", kind, "inet", table, name]);
        let list = told.split_once("elements = {").and_then(|(_, rest)| rest.split_once('}'));
        list.map_or(0, |(list, _)| list.split(',').count())
    };
    let counts = [elements("map", "networks"), elements("set", "peers4"), elements("set", "peers6")];
    (chains.lines().count(), counts)
}

#[test]
fn sandboxes_of_one_network_reach_each_other_and_nobody_else() {
    let Some(world) = World::start("sandboxes_of_one_network_reach_each_other_and_nobody_else") else { return };
    world.name("203.0.113.1");
    let mut daemon = world.daemon(&format!("{BRIDGE}resolvers = [\"203.0.113.1\"]\n"));
    let before = kept(&world);
    assert_eq!(before.1, [0; 3]);
    let ids = [Some("team"), Some("team"), Some("other"), None].map(|name| member(&daemon, name).id);
    for round in 0..2 {
        let [one, two, other, alone] = ids.each_ref().map(|id| daemon.sandbox(id));
        for (from, to) in [(&one, &two), (&two, &one)] {
            check_pair(&daemon, from, to, true);
        }
        for stranger in [&other, &alone] {
            for (from, to) in [(&one, stranger), (stranger, &one), (&other, &alone), (&alone, &other)] {
                check_pair(&daemon, from, to, false);
            }
        }
        let named = addresses(&daemon, &two);
        for (kind, address) in [("a", &named[0]), ("aaaa", &named[1])] {
            let ask = format!("busybox nslookup -type={kind} {}", &two.id.replace('-', "")[..12]);
            assert!(output(&one, &ask).contains(&format!("Address: {address}")), "{}", output(&one, &ask));
            assert!(!output(&other, &ask).contains(address), "a name of another network is told");
        }
        // Everything else is as it is for all.
        check(&one, &["93.184.216.34", "2606:2800:220:1::34"], true);
        check(&one, &["10.0.0.5", "fd12::5", "203.0.113.10", "10.211.0.1"], false);
        assert_eq!(kept(&world), (before.0, [3, 3, 3]), "no rule is added for a network");
        if round == 0 {
            daemon.kill();
            daemon.launch();
        }
    }
    // The later daemon knows the network: one who joins is in the same.
    let [one, two, other, _] = ids.each_ref().map(|id| daemon.sandbox(id));
    let third = member(&daemon, Some("team"));
    for (from, to) in [(&third, &one), (&two, &third)] {
        check_pair(&daemon, from, to, true);
    }
    check_pair(&daemon, &third, &other, false);
    // With the last of them the network is gone.
    [&one, &two, &third, &other].into_iter().for_each(Sandbox::delete);
    until("nothing is left", || {
        let now = kept(&world).1;
        if now == [0; 3] { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let fresh = member(&daemon, Some("team"));
    assert_eq!(kept(&world).1, [1; 3]);
    check_pair(&daemon, &daemon.sandbox(&ids[3]), &fresh, false);
}

#[test]
fn a_network_is_there_for_the_first_instruction() {
    let Some(world) = World::start("a_network_is_there_for_the_first_instruction") else { return };
    let daemon = world.daemon(BRIDGE);
    let to = member(&daemon, Some("team"));
    let own = addresses(&daemon, &to);
    let port = world::PORT.to_string();
    let mut asks = daemon.request(&["/bin/probe", "reach", "tcp", &own[0], &port, "tcp", &own[1], &port]);
    for (name, answers) in [("team", 2), ("other", 0)] {
        asks["extensions"] = json!({ "bivouac.network.name": name });
        let sandbox = daemon.create_from(&asks);
        sandbox.ended();
        assert_eq!(sandbox.log().matches("answered: hello").count(), answers, "{name}: {}", sandbox.log());
    }
}

#[test]
fn a_policy_holds_within_a_network_too() {
    let Some(world) = World::start("a_policy_holds_within_a_network_too") else { return };
    let daemon = world.daemon(BRIDGE);
    let [one, two] = [member(&daemon, Some("team")), member(&daemon, Some("team"))];
    let mut policed = request(&daemon, Some("team"));
    let allowed: Vec<Value> =
        addresses(&daemon, &one).iter().map(|address| json!({"action": "allow", "target": address})).collect();
    policed["networkPolicy"] = json!({"defaultAction": "deny", "egress": allowed});
    let policed = daemon.create_from(&policed);
    listening(&daemon, &policed);
    check_pair(&daemon, &policed, &one, true);
    check_pair(&daemon, &policed, &two, false);
    // What it lets out is its policy; who comes is answered.
    for from in [&one, &two] {
        check_pair(&daemon, from, &policed, true);
    }
    let path = policed.path("networkpolicy");
    daemon.client.ask("DELETE", &path, json!(addresses(&daemon, &one)).to_string().as_bytes()).expect(200);
    check_pair(&daemon, &policed, &one, false);
    check_pair(&daemon, &one, &two, true);
}

#[test]
fn what_somebody_takes_out_of_a_network_is_put_back() {
    let Some(world) = World::start("what_somebody_takes_out_of_a_network_is_put_back") else { return };
    let daemon = world.daemon(BRIDGE);
    let [one, two] = [member(&daemon, Some("team")), member(&daemon, Some("team"))];
    let alone = member(&daemon, None);
    let tables = || world.host.command("nft", &["list", "tables"]);
    let table = tables().lines().find_map(|line| line.strip_prefix("table inet ")).expect("a table").to_owned();
    for damage in [
        "flush ruleset".to_owned(),
        format!("flush map inet {table} networks"),
        format!("flush set inet {table} peers4"),
    ] {
        world.host.command("nft", &[&damage]);
        until("the rules are there", || if tables().contains(&table) { Ok(()) } else { Err(tables()) });
        until("the network is whole", || match kept(&world).1 {
            [2, 2, 2] => Ok(()),
            counts => Err(format!("{damage}: {counts:?}")),
        });
        listening(&daemon, &alone);
        check_pair(&daemon, &one, &two, true);
        check_pair(&daemon, &two, &one, true);
        check_pair(&daemon, &one, &alone, false);
    }
}

#[test]
fn whoever_has_no_network_is_in_none() {
    let Some(world) = World::start("whoever_has_no_network_is_in_none") else { return };
    let daemon = world.daemon(BRIDGE);
    for (extensions, told) in [
        (json!({"bivouac.network": "none", "bivouac.network.name": "team"}), "leave it out"),
        (json!({"bivouac.network.name": "Team"}), "it must be 1 to 63 of a-z"),
    ] {
        let mut request = request(&daemon, None);
        request["extensions"] = extensions;
        let refused = daemon.client.post("/v1/sandboxes", &request).expect_error(400, "SANDBOX::INVALID_PARAMETER");
        assert!(refused.text().contains(told), "{refused}");
    }
}
