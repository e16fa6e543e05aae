//! A written model: policies, and what each of them lets a sandbox reach.

use serde_json::{Value, json};

use super::{CONFIG, GATEWAY, Place, ask, probed, probed_without_daemon, reach, with_policy};
use crate::harness::{Daemon, Sandbox, until};

/// Every name that is asked for and every address that is tried, in each row of the model.
const NAMES: [&str; 9] = [
    "a.example",
    "b.example",
    "w.wild.example",
    "x.y.wild.example",
    "wild.example",
    "alias.example",
    "cdn.other",
    "edge.other",
    "nosuch.wild.example",
];
const ADDRESSES: [&str; 12] = [
    "93.184.216.34",
    "8.8.8.8",
    "23.1.1.1",
    "23.1.1.2",
    "23.1.2.1",
    "10.0.0.5",
    "2606:2800:220:1::34",
    "2001:4860:4860::8888",
    "2a05:1::1",
    "2a05:1::2",
    "2a05:2::1",
    "fd12::5",
];

/// One row: default, rules, the names that are answered, and the addresses that are reached once all names were asked for.
struct Row {
    default: &'static str,
    rules: &'static [(&'static str, &'static str)],
    names: &'static [&'static str],
    reached: &'static [&'static str],
}

const MODEL: &[Row] = &[
    Row { default: "deny", rules: &[], names: &[], reached: &[] },
    Row {
        default: "deny",
        rules: &[("allow", "a.example")],
        names: &["a.example"],
        reached: &["93.184.216.34", "2606:2800:220:1::34"],
    },
    Row {
        default: "deny",
        rules: &[("allow", "*.wild.example")],
        names: &["w.wild.example", "x.y.wild.example"],
        reached: &["23.1.1.2", "23.1.2.1", "2a05:1::2", "2a05:2::1"],
    },
    Row {
        default: "deny",
        rules: &[("deny", "w.wild.example"), ("allow", "*.wild.example"), ("allow", "wild.example")],
        names: &["x.y.wild.example", "wild.example"],
        reached: &["23.1.2.1", "8.8.8.8", "2a05:2::1", "2001:4860:4860::8888"],
    },
    Row {
        default: "deny",
        rules: &[("allow", "23.1.1.0/24"), ("allow", "2a05:1::/32")],
        names: &[],
        reached: &["23.1.1.1", "23.1.1.2", "2a05:1::1", "2a05:1::2"],
    },
    Row {
        default: "deny",
        rules: &[("deny", "23.1.1.2"), ("allow", "23.1.0.0/16"), ("deny", "2a05:1::2"), ("allow", "2a05:1::/32")],
        names: &[],
        reached: &["23.1.1.1", "23.1.2.1", "2a05:1::1"],
    },
    // A name leads to no address that a rule denies.
    Row {
        default: "deny",
        rules: &[("allow", "a.example"), ("allow", "b.example"), ("deny", "23.1.1.1"), ("deny", "2a05:1::/32")],
        names: &["a.example"],
        reached: &["93.184.216.34", "2606:2800:220:1::34"],
    },
    // The name that is asked for decides, and not those that it leads to.
    Row {
        default: "deny",
        rules: &[("allow", "alias.example")],
        names: &["alias.example"],
        reached: &["23.1.2.1", "2a05:2::1"],
    },
    Row {
        default: "deny",
        rules: &[("allow", "edge.other"), ("deny", "alias.example")],
        names: &["edge.other"],
        reached: &["23.1.2.1", "2a05:2::1"],
    },
    // What the operator keeps closed is closed.
    Row {
        default: "deny",
        rules: &[("allow", "0.0.0.0/0"), ("allow", "::/0")],
        names: &[],
        reached: &[
            "93.184.216.34",
            "8.8.8.8",
            "23.1.1.1",
            "23.1.1.2",
            "23.1.2.1",
            "2606:2800:220:1::34",
            "2001:4860:4860::8888",
            "2a05:1::1",
            "2a05:1::2",
            "2a05:2::1",
        ],
    },
    Row {
        default: "allow",
        rules: &[("deny", "*.wild.example"), ("deny", "23.1.1.0/24"), ("deny", "2a05:1::/32"), ("deny", "cdn.other")],
        names: &["a.example", "wild.example", "alias.example", "edge.other"],
        reached: &["93.184.216.34", "8.8.8.8", "23.1.2.1", "2606:2800:220:1::34", "2001:4860:4860::8888", "2a05:2::1"],
    },
];

impl Row {
    fn policy(&self) -> Value {
        let rule = |(action, target): &(&str, &str)| json!({"action": action, "target": target});
        json!({"defaultAction": self.default, "egress": self.rules.iter().map(rule).collect::<Vec<_>>()})
    }
}

/// Every difference between what is answered and the row.
fn names_that_differ(sandbox: &Sandbox<'_>, row: &Row, over: &str) -> Vec<String> {
    let questions: Vec<(&str, &str)> = NAMES.iter().flat_map(|name| [(*name, "A"), (*name, "AAAA")]).collect();
    let told = probed(sandbox, &ask(over, GATEWAY, &questions));
    let differs = |((name, kind), told): (&(&str, &str), &String)| {
        let is_answered = told.starts_with("NoError ");
        let is_right =
            is_answered == row.names.contains(name) && (is_answered || told == "NXDomain" || told == "Refused");
        (!is_right).then(|| format!("{name} {kind}: {told}"))
    };
    questions.iter().zip(&told).filter_map(differs).collect()
}

/// Every difference between who answers and the row.
fn addresses_that_differ(row: &Row, told: &[String]) -> Vec<String> {
    let tried = ADDRESSES.iter().flat_map(|address| KINDS.map(|kind| (kind, *address)));
    let differs = |((kind, address), told): ((&str, &str), &String)| {
        let is_right = told.starts_with("answered") == row.reached.contains(&address);
        (!is_right).then(|| format!("{kind} {address}: {told}"))
    };
    tried.zip(told).filter_map(differs).collect()
}

const KINDS: [&str; 3] = ["tcp", "udp", "ping"];

#[track_caller]
fn check(sandbox: &Sandbox<'_>, row: &Row, moment: &str) {
    let over = if moment == "after an update" { "tcp" } else { "udp" };
    // A question may be lost, as any datagram.
    let names = until("answered", || match names_that_differ(sandbox, row, over) {
        names if names.iter().any(|name| name.contains(": failed: ")) => Err(names.join("; ")),
        names => Ok(names),
    });
    assert_eq!(names, Vec::<String>::new(), "{moment}: {}", row.policy());
    check_addresses(row, moment, || probed(sandbox, &reach(&KINDS, &ADDRESSES)));
}

/// Whoever answers and should not is a failure at once. A datagram may be lost where all rows ask at the same time.
#[track_caller]
fn check_addresses(row: &Row, moment: &str, ask: impl Fn() -> Vec<String>) {
    until("as the model says", || {
        let differences = addresses_that_differ(row, &ask());
        assert!(!differences.iter().any(|one| one.contains("answered")), "{moment}: {} {differences:?}", row.policy());
        if differences.is_empty() { Ok(()) } else { Err(format!("{moment}: {} {differences:?}", row.policy())) }
    });
}

#[test]
fn what_is_reached_is_what_the_model_says() {
    let Some(place) = Place::start("what_is_reached_is_what_the_model_says") else { return };
    let mut daemon = place.world.daemon(CONFIG);
    let ids = in_parallel(MODEL, |row| made_and_changed(&daemon, row));
    let of_row = |(row, ids)| <[String; 2]>::each_ref(ids).map(|id| (row, daemon.processes(id)[0], id));
    let rows: Vec<(&Row, i32, &String)> = MODEL.iter().zip(&ids).flat_map(of_row).collect();
    daemon.kill();
    in_parallel(&rows, |(row, inside, _)| {
        check_addresses(row, "no daemon", || probed_without_daemon(*inside, &reach(&KINDS, &ADDRESSES)));
        let told = probed_without_daemon(*inside, &ask("udp", GATEWAY, &[("a.example", "A")]));
        assert!(told[0].starts_with("failed"), "{told:?}");
    });
    daemon.launch();
    in_parallel(&rows, |(row, _, id)| {
        let sandbox = daemon.sandbox(id);
        let kept = daemon.client.get(&sandbox.path("networkpolicy")).expect(200).json();
        assert_eq!(kept["policy"], row.policy());
        // What was an answer before is still reached, before any name is asked for again.
        check_addresses(row, "a new daemon", || probed(&sandbox, &reach(&KINDS, &ADDRESSES)));
        check(&sandbox, row, "after a restart");
    });
    // Somebody removes the rules, behind everybody's back.
    place.world.host.command("nft", &["flush", "ruleset"]);
    until("in force again", || {
        let rules = place.world.host.command("nft", &["list", "ruleset"]);
        if rules.contains("masquerade") { Ok(()) } else { Err(rules) }
    });
    in_parallel(&rows, |(row, _, id)| {
        let sandbox = daemon.sandbox(id);
        check_addresses(row, "rules made anew", || probed(&sandbox, &reach(&KINDS, &ADDRESSES)));
        until("answered", || match probed(&sandbox, &ask("udp", GATEWAY, &[("nosuch.example", "A")])).remove(0) {
            told if told.starts_with("failed") => Err(told),
            _ => Ok(()),
        });
        check(&sandbox, row, "after a flush");
    });
}

/// A sandbox that is made with the policy of the row, and paused; and another that has it after others.
fn made_and_changed(daemon: &Daemon, row: &Row) -> [String; 2] {
    let made = daemon.create_from(&with_policy(daemon, &row.policy()));
    check(&made, row, "at create");
    made.call("pause").expect(202);
    made.call("resume").expect(202);
    check(&made, row, "after a resume");
    let other = daemon.sleeper();
    let put = |policy: Value| daemon.client.ask("PUT", &other.path("networkpolicy"), policy.to_string().as_bytes());
    put(MODEL[1].policy()).expect(200);
    // What that lets it learn must not be reached later.
    drop(names_that_differ(&other, row, "udp"));
    put(row.policy()).expect(200);
    check(&other, row, "after an update");
    [made.id, other.id]
}

/// A sandbox that is refused something is told so at once, but not more than a few times a second: rows do not wait for each
/// other.
fn in_parallel<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a row of the model")).collect()
    })
}
