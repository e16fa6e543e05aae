//! Policies against a written table.

use super::*;

fn rule(text: &str) -> PolicyRule {
    let (action, target) = text.split_once(' ').expect("an action and a target");
    let action = if action == "allow" { Action::Allow } else { Action::Deny };
    PolicyRule { action, target: target.parse().unwrap_or_else(|error| panic!("{target} {error}")) }
}

fn policy(default: Action, rules: &[&str]) -> NetworkPolicy {
    NetworkPolicy { default, rules: rules.iter().map(|text| rule(text)).collect() }
}

#[test]
fn targets_have_one_spelling() {
    for (text, spelled) in [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        (" *.Example.com ", "*.example.com"),
        ("_sip._tcp.example.com", "_sip._tcp.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4/32", "1.2.3.4"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("2001:db8:ffff::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
    ] {
        let target: Target = text.parse().unwrap_or_else(|error| panic!("{text} {error}"));
        assert_eq!(target.to_string(), spelled, "{text}");
        assert_eq!(spelled.parse(), Ok(target), "{text}");
    }
}

#[test]
fn what_is_no_target_is_refused_with_its_reason() {
    let long = format!("{}.example", "a".repeat(64));
    let longer = ["a".repeat(60).as_str(); 5].join(".");
    for (text, reason) in [
        ("", InvalidTarget::Empty),
        ("  ", InvalidTarget::Empty),
        ("*", InvalidTarget::Wildcard),
        ("*.*.com", InvalidTarget::Wildcard),
        ("a.*.com", InvalidTarget::Wildcard),
        ("*example.com", InvalidTarget::Wildcard),
        (long.as_str(), InvalidTarget::TooLong),
        (longer.as_str(), InvalidTarget::TooLong),
        ("b\u{fc}cher.example", InvalidTarget::NotAscii),
        ("10.0.0.0/33", InvalidTarget::Range),
        ("10.0.0.0/", InvalidTarget::Range),
        ("10.0.0.0/+8", InvalidTarget::Range),
        ("10.0.0.0/08", InvalidTarget::Range),
        ("2001:db8::/129", InvalidTarget::Range),
        ("::ffff:0:0/96", InvalidTarget::Range),
        ("1.2.3", InvalidTarget::Address),
        ("1.2.3.4.5", InvalidTarget::Address),
        ("300.1.1.1", InvalidTarget::Address),
        ("https://example.com", InvalidTarget::Other),
        ("example.com/path", InvalidTarget::Other),
        ("example.com:443", InvalidTarget::Other),
        ("exa mple.com", InvalidTarget::Other),
        ("example..com", InvalidTarget::Other),
        (".example.com", InvalidTarget::Other),
        ("-a.example", InvalidTarget::Other),
        ("*.", InvalidTarget::Wildcard),
        (".", InvalidTarget::Other),
        ("fe80::1%eth0", InvalidTarget::Other),
        ("a\0b.com", InvalidTarget::Other),
    ] {
        assert_eq!(text.parse::<Target>(), Err(reason), "{text:?}");
    }
}

/// Rules, a name, and whether it may be reached under a default of deny.
const NAMES: &[(&[&str], &str, bool)] = &[
    (&[], "example.com", false),
    (&["allow example.com"], "example.com", true),
    (&["allow example.com"], "www.example.com", false),
    (&["allow example.com"], "notexample.com", false),
    (&["allow example.com"], "example.com.evil.net", false),
    (&["allow *.example.com"], "www.example.com", true),
    (&["allow *.example.com"], "a.b.c.example.com", true),
    (&["allow *.example.com"], "example.com", false),
    (&["allow *.example.com"], "evilexample.com", false),
    (&["allow *.com"], "example.com", true),
    (&["deny bad.example.com", "allow *.example.com"], "bad.example.com", false),
    (&["deny bad.example.com", "allow *.example.com"], "good.example.com", true),
    (&["allow *.example.com", "deny bad.example.com"], "bad.example.com", true),
    (&["allow good.example.com", "deny *.example.com"], "good.example.com", true),
    (&["allow 1.2.3.4"], "1.2.3.4", false),
];

#[test]
fn the_first_rule_that_fits_decides_about_a_name() {
    for (rules, name, expected) in NAMES {
        let judged = policy(Action::Deny, rules).judge_name(name);
        assert_eq!(judged == Action::Allow, *expected, "{rules:?} {name}");
    }
    let open = policy(Action::Allow, &["deny *.example.com"]);
    assert_eq!(open.judge_name("a.example.com"), Action::Deny);
    assert_eq!(open.judge_name("example.com"), Action::Allow);
}

/// Default, rules, an address, the names that it answered for, and whether packets pass.
type AddressRow = (&'static str, &'static [&'static str], &'static str, &'static [&'static str], bool);

const ADDRESSES: &[AddressRow] = &[
    ("deny", &[], "1.2.3.4", &[], false),
    ("deny", &[], "1.2.3.4", &["example.com"], false),
    ("deny", &["allow example.com"], "1.2.3.4", &[], false),
    ("deny", &["allow example.com"], "1.2.3.4", &["example.com"], true),
    ("deny", &["allow example.com"], "1.2.3.4", &["other.com", "example.com"], true),
    ("deny", &["allow example.com", "deny 1.2.3.0/24"], "1.2.3.4", &["example.com"], false),
    ("deny", &["allow 1.2.3.4"], "1.2.3.4", &[], true),
    ("deny", &["allow 1.2.3.4"], "1.2.3.5", &[], false),
    ("deny", &["allow 1.2.0.0/16"], "1.2.255.255", &[], true),
    ("deny", &["allow 1.2.0.0/16"], "1.3.0.0", &[], false),
    ("deny", &["deny 1.2.3.4", "allow 1.2.0.0/16"], "1.2.3.4", &[], false),
    ("deny", &["allow 1.2.3.4", "deny 1.2.0.0/16"], "1.2.3.4", &[], true),
    ("deny", &["allow 1.2.3.4", "deny 1.2.0.0/16"], "1.2.3.5", &[], false),
    ("deny", &["allow 0.0.0.0/0"], "1.2.3.4", &[], true),
    ("deny", &["allow 0.0.0.0/0"], "2a00::1", &[], false),
    ("deny", &["allow 2a00::/16"], "2a00:1::1", &[], true),
    ("deny", &["allow 2a00::/16"], "2b00::1", &[], false),
    ("deny", &["allow ::/0"], "2a00::1", &[], true),
    ("deny", &["allow ::/0"], "1.2.3.4", &[], false),
    ("allow", &["deny 1.2.3.0/24"], "1.2.3.4", &["example.com"], false),
    ("allow", &["deny 1.2.3.0/24"], "1.2.4.4", &[], true),
    ("allow", &["deny example.com"], "1.2.3.4", &[], true),
    ("allow", &["deny 2a00::/16"], "2a00::1", &[], false),
];

#[test]
fn rules_about_addresses_go_before_names() {
    for (default, rules, address, names, expected) in ADDRESSES {
        let default = if *default == "allow" { Action::Allow } else { Action::Deny };
        let passes = policy(default, rules).passes(address.parse().expect("an address"), names.iter().copied());
        assert_eq!(passes, *expected, "{default:?} {rules:?} {address} {names:?}");
    }
}

fn merged(before: &[&str], new: &[&str]) -> Vec<String> {
    let change = PolicyChange::Merge(new.iter().map(|text| rule(text)).collect());
    let after = change.apply(Some(&policy(Action::Deny, before))).expect("small").expect("a policy");
    assert_eq!(after.default, Action::Deny);
    after.rules.iter().map(|rule| format!("{} {}", rule.action.as_str(), rule.target)).collect()
}

#[test]
fn new_rules_go_before_old_ones_and_the_first_for_a_target_counts() {
    assert_eq!(merged(&["allow a.com", "allow b.com"], &["deny b.com"]), ["deny b.com", "allow a.com"]);
    assert_eq!(
        merged(&["deny a.com"], &["allow c.com", "deny C.com.", "allow d.com"]),
        ["allow c.com", "allow d.com", "deny a.com"]
    );
    assert_eq!(merged(&[], &["allow 10.1.1.1/8", "deny 10.0.0.0/8"]), ["allow 10.0.0.0/8"]);
}

#[test]
fn rules_go_by_their_target_and_unknown_ones_do_not_matter() {
    let before = policy(Action::Deny, &["allow a.com", "allow *.a.com", "deny 10.0.0.0/8"]);
    let targets = ["A.com", "nosuch.com", "10.9.9.9/8"].map(|text| text.parse().expect("a target"));
    let after = PolicyChange::Remove(targets.to_vec()).apply(Some(&before)).expect("small");
    assert_eq!(after, Some(policy(Action::Deny, &["allow *.a.com"])));
    let all = PolicyChange::Remove(vec!["*.a.com".parse().expect("a target")]).apply(after.as_ref()).expect("small");
    assert_eq!(all, Some(NetworkPolicy::closed()), "the default stays");
}

#[test]
fn without_a_policy_everything_is_allowed_until_a_rule_says_otherwise() {
    let deny = PolicyChange::Merge(vec![rule("deny a.com")]).apply(None).expect("small");
    assert_eq!(deny, Some(policy(Action::Allow, &["deny a.com"])));
    let gone = PolicyChange::Remove(vec!["a.com".parse().expect("a target")]).apply(deny.as_ref());
    assert_eq!(gone, Ok(None));
    assert_eq!(PolicyChange::Replace(NetworkPolicy::open()).apply(Some(&NetworkPolicy::closed())), Ok(None));
}

#[test]
fn the_number_of_rules_is_bounded() {
    let names = |count: usize| (0..count).map(|at| rule(&format!("allow h{at}.example"))).collect::<Vec<_>>();
    let nets = |count: usize| (0..count).map(|at| rule(&format!("allow 11.0.{}.{}", at / 256, at % 256))).collect();
    let merge = |rules| PolicyChange::Merge(rules).apply(None).map(|policy| policy.map(|policy| policy.rules.len()));
    assert_eq!(merge(names(MOST_RULES)), Ok(Some(MOST_RULES)));
    assert_eq!(merge(names(MOST_RULES + 1)), Err(PolicyTooLarge::Rules(MOST_RULES + 1)));
    assert_eq!(merge(nets(MOST_ADDRESS_RULES)), Ok(Some(MOST_ADDRESS_RULES)));
    assert_eq!(merge(nets(MOST_ADDRESS_RULES + 1)), Err(PolicyTooLarge::AddressRules(MOST_ADDRESS_RULES + 1)));
}

#[test]
fn a_policy_is_kept_on_disk_as_it_was_written() {
    let kept = policy(Action::Deny, &["allow *.example.com", "deny 10.0.0.0/8"]);
    let json = serde_json::to_string(&kept).expect("encoded");
    assert_eq!(
        json,
        r#"{"default":"deny","rules":[{"action":"allow","target":"*.example.com"},{"action":"deny","target":"10.0.0.0/8"}]}"#
    );
    assert_eq!(serde_json::from_str::<NetworkPolicy>(&json).expect("decoded"), kept);
}
