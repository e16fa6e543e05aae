//! What a sandbox under a policy can ask for, and what it is told.

use serde_json::json;

use super::{CONFIG, GATEWAY, Place, RESOLVER, ask, probed, reach, with_policy};

#[test]
fn a_name_that_leads_inside_is_not_told() {
    let Some(place) = Place::start("a_name_that_leads_inside_is_not_told") else { return };
    let policies = [
        json!({"defaultAction": "deny", "egress": [{"action": "allow", "target": "*.wild.example"}]}),
        json!({"defaultAction": "allow", "egress": [{"action": "deny", "target": "b.example"}]}),
    ];
    let daemon = place.world.daemon(CONFIG);
    let questions = ["rebind.wild.example", "mixed.wild.example"].map(|name| [(name, "A"), (name, "AAAA")]).concat();
    for policy in &policies {
        let sandbox = daemon.create_from(&with_policy(&daemon, policy));
        for over in ["udp", "tcp"] {
            let told = probed(&sandbox, &ask(over, GATEWAY, &questions));
            assert_eq!(told, ["Refused", "Refused", "NoError 23.1.1.2", "NoError 2a05:1::2"], "{policy} {over}");
        }
        let told = probed(&sandbox, &reach(&["tcp", "udp"], &["10.0.0.5", "fd12::5", "169.254.169.254"]));
        assert!(told.iter().all(|told| !told.starts_with("answered")), "{told:?}");
    }
    // Where the operator has opened the range, a rule may let it through; a name alone never does.
    let daemon = place
        .world
        .daemon(&format!("{CONFIG}open = [\"10.0.0.0/24\"]\npool_v4 = \"10.212.0.0/16\"\npool_v6 = \"none\"\n"));
    let gateway = "10.212.0.1";
    for (rules, told, reached) in [
        (json!([{"action": "allow", "target": "*.wild.example"}]), "NoError 23.1.1.2", false),
        (
            json!([{"action": "allow", "target": "*.wild.example"}, {"action": "allow", "target": "10.0.0.5"}]),
            "NoError 10.0.0.5 23.1.1.2",
            true,
        ),
    ] {
        let sandbox = daemon.create_from(&with_policy(&daemon, &json!({"defaultAction": "deny", "egress": rules})));
        assert_eq!(probed(&sandbox, &ask("udp", gateway, &[("mixed.wild.example", "A")])), [told]);
        let answers = probed(&sandbox, &reach(&["tcp"], &["10.0.0.5"]));
        assert_eq!(answers[0].starts_with("answered"), reached, "{answers:?}");
    }
}

#[test]
fn no_question_for_another_name_leaves() {
    let Some(place) = Place::start("no_question_for_another_name_leaves") else { return };
    let daemon = place.world.daemon(CONFIG);
    let policy = json!({"defaultAction": "deny", "egress": [
        {"action": "allow", "target": "a.example"}, {"action": "allow", "target": "*.wild.example"},
        {"action": "allow", "target": "0.0.0.0/0"},
    ]});
    let sandbox = daemon.create_from(&with_policy(&daemon, &policy));
    drop(place.zone.asked());
    // Data in labels, in upper and lower case, in types that carry much, and in what is no host name.
    let data = "4d5a90000300000004000000ffff0000b800000000000000400000000000000";
    let tunnel = [
        (format!("{data}.t.evil.example"), "NULL"),
        (format!("{data}.{data}.{data}.t.evil.example"), "TXT"),
        (format!("{data}.a.example"), "A"),
        ("t.evil.example".to_owned(), "CNAME"),
        ("a.example.evil.example".to_owned(), "A"),
        (format!("{data}.{data}.{data}.wild.example"), "A"),
        ("w\u{e9}.wild.example".to_owned(), "A"),
        ("w w.wild.example".to_owned(), "A"),
        ("w.wild.example".to_owned(), "TXT"),
        ("w.wild.example".to_owned(), "NULL"),
        ("w.wild.example".to_owned(), "MX"),
        ("w.wild.example".to_owned(), "SRV"),
        ("w.wild.example".to_owned(), "ANY"),
        ("a.example".to_owned(), "HTTPS"),
        ("A.eXaMpLe".to_owned(), "A"),
    ];
    let tunnel: Vec<(&str, &str)> = tunnel.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    for over in ["udp", "tcp"] {
        let told = probed(&sandbox, &ask(over, GATEWAY, &tunnel));
        let (last, others) = told.split_last().expect("answers");
        assert_eq!(last, "NoError 93.184.216.34");
        assert_eq!(others.last().map(String::as_str), Some("NoError"), "no record");
        let refused = |told: &&String| *told == "NXDomain" || *told == "Refused";
        assert_eq!(others.iter().filter(refused).count(), others.len() - 1, "{told:?}");
        assert_eq!(place.zone.asked(), ["a.example. A"]);
    }
    // Nor to anybody else who resolves names, although every address is allowed.
    for server in [RESOLVER, "8.8.8.8", "2001:4860:4860::8888"] {
        for over in ["udp", "tcp"] {
            let told = probed(&sandbox, &ask(over, server, &[("a.example", "A")]));
            assert!(told[0].starts_with("failed"), "{server} {told:?}");
        }
    }
    assert_eq!(place.zone.asked(), Vec::<String>::new());
    for (port, reached) in [("53", false), ("853", false), ("443", false), ("7777", true)] {
        for kind in ["tcp", "udp"] {
            if port != "7777" && kind == "tcp" {
                place.world.answer_at(&place.world.outside, "8.8.8.8", port.parse().expect("a port"));
            }
            let told = probed(&sandbox, &["reach", kind, "8.8.8.8", port]);
            assert_eq!(told[0].starts_with("answered"), reached, "{kind} {port}: {told:?}");
        }
    }
    // Without a policy all of that is the sandbox's own affair.
    let free = daemon.sleeper();
    assert!(probed(&free, &["reach", "udp", "8.8.8.8", "853"])[0].starts_with("answered"));
}
