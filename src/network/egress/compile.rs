//! From the rules of a policy to elements of sets.

use sha2::{Digest, Sha256};

use crate::model::{Action, NetworkPolicy, Target};
use crate::network::nft::{Entry, policed};
use crate::network::range::{self, Family, Range};

/// Everything that the packet filter must know of a policy, but what its names lead to.
#[must_use]
pub fn entries(policy: Option<&NetworkPolicy>, link: u32) -> Vec<Entry> {
    let Some(policy) = policy else { return vec![Entry::free(link)] };
    let mut all = vec![Entry::policed(link, &word(policy))];
    if policy.default == Action::Allow {
        all.push(Entry::allowing(link));
    }
    for family in Family::BOTH {
        let (denied, allowed) = ranges(policy, family);
        let of = |set, ranges: Vec<Range>| ranges.into_iter().map(move |range| Entry::range(set, link, family, range));
        all.extend(of(policed::denied(family), denied));
        all.extend(of(policed::allowed(family), allowed));
    }
    all
}

/// What the rules deny and what they allow, each address by the first rule that covers it.
fn ranges(policy: &NetworkPolicy, family: Family) -> (Vec<Range>, Vec<Range>) {
    let (mut denied, mut allowed, mut covered) = (Vec::new(), Vec::new(), Vec::new());
    for rule in &policy.rules {
        let Target::Net(address, bits) = rule.target else { continue };
        if Family::of(address) != family {
            continue;
        }
        let Ok(net) = ipnet::IpNet::new(address, bits) else { continue };
        let own = range::subtract(&[range::of_net(&net)], &covered);
        covered.extend(own.iter().copied());
        covered = range::joined(covered);
        if rule.action == Action::Allow { allowed.extend(own) } else { denied.extend(own) }
    }
    // What touches is one element.
    (range::joined(denied), range::joined(allowed))
}

/// Another one for another policy, for whoever finds the element and has to know whether it says what it should.
#[must_use]
pub fn word(policy: &NetworkPolicy) -> String {
    let digest = Sha256::digest(format!("{policy:?}"));
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("policy {hex}")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::PolicyRule;

    fn policy(rules: &[&str]) -> NetworkPolicy {
        let rule = |text: &&str| {
            let (action, target) = text.split_once(' ').expect("an action and a target");
            let action = if action == "allow" { Action::Allow } else { Action::Deny };
            PolicyRule { action, target: target.parse().expect("a target") }
        };
        NetworkPolicy { default: Action::Deny, rules: rules.iter().map(rule).collect() }
    }

    fn range(first: &str, last: &str) -> Range {
        let number = |text: &str| range::number(text.parse().expect("an address"));
        Range { first: number(first), last: number(last) }
    }

    #[test]
    fn an_address_belongs_to_the_first_rule_that_covers_it() {
        let (denied, allowed) = ranges(
            &policy(&["allow 10.0.0.8/30", "deny 10.0.0.0/24", "allow 10.0.0.0/16", "allow a.com", "deny fd00::/8"]),
            Family::V4,
        );
        assert_eq!(denied, [range("10.0.0.0", "10.0.0.7"), range("10.0.0.12", "10.0.0.255")]);
        assert_eq!(allowed, [range("10.0.0.8", "10.0.0.11"), range("10.0.1.0", "10.0.255.255")]);
        let (denied, allowed) = ranges(&policy(&["allow ::/0", "deny fd00::/8"]), Family::V6);
        assert_eq!((denied, allowed), (vec![], vec![range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]));
    }

    #[test]
    fn ranges_say_of_every_address_what_the_rules_say() {
        let all = policy(&[
            "deny 10.0.0.1",
            "allow 10.0.0.0/29",
            "deny 10.0.0.0/28",
            "allow 10.0.0.16/28",
            "deny 10.0.0.0/24",
            "allow 10.0.0.77",
        ]);
        let (denied, allowed) = ranges(&all, Family::V4);
        for last in 0..=255_u8 {
            let address = IpAddr::from([10, 0, 0, last]);
            let number = range::number(address);
            let has = |ranges: &[Range]| ranges.iter().any(|range| range.first <= number && number <= range.last);
            let found = match (has(&denied), has(&allowed)) {
                (true, false) => Some(Action::Deny),
                (false, true) => Some(Action::Allow),
                (false, false) => None,
                (true, true) => panic!("{address} is in both"),
            };
            assert_eq!(found, all.judge_address(address), "{address}");
        }
    }

    #[test]
    fn another_policy_has_another_word() {
        assert_ne!(word(&policy(&["allow a.com"])), word(&policy(&["deny a.com"])));
        assert_eq!(word(&policy(&["allow a.com"])), word(&policy(&["allow A.com"])));
        assert_eq!(entries(None, 7), [Entry::free(7)]);
        assert_eq!(entries(Some(&policy(&["allow a.com"])), 7), [Entry::policed(7, &word(&policy(&["allow a.com"])))]);
    }
}
