//! How often a sandbox under a policy may ask for names.

use serde_json::json;

use crate::harness::{Counters, counter, until};
use crate::network_policy::{CONFIG, GATEWAY, Place, ask, probed, probed_json, with_policy};

/// After a time of silence.
const AT_ONCE: f64 = 200.0;
/// Over a longer time.
const A_SECOND: f64 = 20.0;
/// Each neighbour asks so often at the most, which is less than it may.
const OF_A_NEIGHBOUR: usize = 150;

#[test]
fn one_who_asks_too_often_is_not_heard_and_others_are() {
    let Some(place) = Place::start("one_who_asks_too_often_is_not_heard_and_others_are") else { return };
    let daemon = place.world.daemon(CONFIG);
    let names = ["a.example", "b.example"].map(|name| json!({ "action": "allow", "target": name }));
    let request = with_policy(&daemon, &json!({ "defaultAction": "deny", "egress": names }));
    let greedy = daemon.create_from(&request);
    let neighbours = [daemon.create_from(&request), daemon.sleeper()];
    let questions = ["udp dport 53", "tcp dport 53"].map(|like| ("questions", like.to_owned()));
    let counters = Counters::start(&place.world.outside, counter::FIRST, &questions);

    let mut others = 0;
    let told = std::thread::scope(|scope| {
        // Of both addresses of the gateway, over UDP and TCP: all of it is one share.
        let flood = || probed_json(&greedy, &["flood", "a.example", "4", GATEWAY, "fdb1:7000:211::1"]);
        let flood = scope.spawn(flood);
        while !flood.is_finished() && others < neighbours.len() * OF_A_NEIGHBOUR {
            for neighbour in &neighbours {
                let told = probed(neighbour, &ask("udp", GATEWAY, &[("b.example", "A")]));
                assert_eq!(told, ["NoError 23.1.1.1"]);
                others += 1;
            }
        }
        flood.join().expect("a flood")
    });
    let number = |key: &str| told[key].as_f64().unwrap_or_else(|| panic!("{told}"));
    // A second more, for what is on its way.
    let most = AT_ONCE + A_SECOND * (number("seconds") + 1.0);
    assert!(number("asked") > 3.0 * most, "{told}");
    // What has no room at the same time is dropped before it is counted, so a little less may be answered.
    assert!((AT_ONCE / 2.0..most).contains(&number("answered")), "{told}, at most {most}");
    let forwarded = counters.packets("questions") as f64;
    assert!(forwarded >= number("answered") + others as f64, "{forwarded} packets, {others} of others, {told}");
    assert!(forwarded < most + others as f64, "{forwarded} packets, {others} of others, {told}");
    assert!(others > 20, "{others}");
    until("answered again", || match probed(&greedy, &ask("udp", GATEWAY, &[("a.example", "A")])).remove(0) {
        told if told.starts_with("NoError ") => Ok(()),
        told => Err(told),
    });
}
