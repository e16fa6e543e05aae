//! The rules for sandboxes under a policy: the same for all of them, with what each may reach in sets.
//!
//! | from a sandbox under a policy | |
//! |---|---|
//! | to port 53 or 853, over TCP or UDP | refused: names are asked of the gateway alone |
//! | to port 443 of an address that is known to resolve names over HTTPS | refused |
//! | within a connection that was let through before | passes |
//! | to an address that a rule denies | refused |
//! | to an address that was the answer for a name that it may reach, until that is too old | passes |
//! | to an address that a rule allows | passes |
//! | anywhere else | as its default says |
//!
//! What is closed to everybody was refused before any of this. A set is keyed by interface and address, so no policy has rules
//! of its own; connections that a new policy forbids are forgotten ([`super::super::conntrack`]) and with that asked about again.

use ipnet::IpNet;

use super::doh;
use super::expression::{self as ex, ESTABLISHED, Expression, FIRST, Meta, RELATED, SECOND, Side};
use super::refusal;
use super::ruleset::{Set, of, rule};
use crate::model::Refusal;
use crate::network::range::{self, Family};

/// The chain.
pub const CHAIN: &str = "policed";
/// Interfaces of sandboxes without a policy: whoever is not among them is under one, and reaches nothing unless that says so.
pub const FREE: &str = "free";
/// Interfaces of sandboxes that have a policy, each with a word for it.
pub const POLICED: &str = "policed";
/// Interfaces of those whose policy lets through what it does not speak of.
pub const ALLOWING: &str = "allowing";
const PORTED: &str = "ported";
const NAME_PORTS: &str = "name_ports";

/// Addresses that a rule denies, as ranges for each interface.
#[must_use]
pub fn denied(family: Family) -> &'static str {
    if family == Family::V4 { "denied4" } else { "denied6" }
}

/// Addresses that a rule allows.
#[must_use]
pub fn allowed(family: Family) -> &'static str {
    if family == Family::V4 { "allowed4" } else { "allowed6" }
}

/// Addresses that were answers. They go by themselves.
#[must_use]
pub fn learned(family: Family) -> &'static str {
    if family == Family::V4 { "learned4" } else { "learned6" }
}

fn over_https(family: Family) -> &'static str {
    if family == Family::V4 { "over_https4" } else { "over_https6" }
}

/// A set whose elements belong to sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicySet {
    pub name: &'static str,
    pub kind: Kind,
    /// The family of the address that follows the interface in a key, if one does.
    pub family: Option<Family>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Single,
    /// Elements have a time to live.
    Timed,
    /// Elements are ranges within an interface.
    Ranges,
}

/// All of them.
#[must_use]
pub fn policy_sets() -> Vec<PolicySet> {
    let mut all: Vec<PolicySet> =
        [FREE, POLICED, ALLOWING].map(|name| PolicySet { name, kind: Kind::Single, family: None }).to_vec();
    for family in Family::BOTH {
        let of = |name, kind| PolicySet { name, kind, family: Some(family) };
        all.push(of(learned(family), Kind::Timed));
        all.extend([denied(family), allowed(family)].map(|name| of(name, Kind::Ranges)));
    }
    all
}

/// The sets that are the same for ever.
#[must_use]
pub fn constants() -> Vec<Set> {
    let numbers = |name: &str, length: usize, numbers: &[u16]| {
        let bytes = |number: u16| number.to_be_bytes()[2 - length..].to_vec();
        let borders = numbers.iter().flat_map(|number| [(bytes(*number), false), (bytes(*number + 1), true)]);
        Set {
            name: name.into(),
            key_length: length as u32,
            value_length: 0,
            borders: Some(borders.collect()),
            attached: None,
        }
    };
    let mut all = vec![
        numbers(PORTED, 1, &[libc::IPPROTO_TCP as u16, libc::IPPROTO_UDP as u16]),
        numbers(NAME_PORTS, 2, &[53, 853]),
    ];
    for family in Family::BOTH {
        let nets = doh::ADDRESSES.iter().filter_map(|text| text.parse::<IpNet>().ok());
        let ranges = nets.filter(|net| Family::of(net.addr()) == family).map(|net| range::of_net(&net)).collect();
        let borders = range::borders(family, &range::joined(ranges));
        all.push(Set {
            name: over_https(family).into(),
            key_length: family.length() as u32,
            value_length: 0,
            borders: Some(borders),
            attached: None,
        });
    }
    all
}

/// The end of the way out: open to those that are free, and for all others what their policy says.
#[must_use]
pub fn gate() -> [Vec<Expression>; 2] {
    let free = vec![ex::meta(Meta::InInterface, FIRST), ex::in_set(FREE, FIRST), ex::accept()];
    [free, vec![ex::go_to(CHAIN)]]
}

#[must_use]
pub fn rules() -> Vec<Vec<Expression>> {
    let refuse = || vec![ex::go_to(refusal::chain(Refusal::Policy))];
    let ported = || vec![ex::meta(Meta::Protocol, FIRST), ex::in_set(PORTED, FIRST), ex::port(FIRST)];
    let mut all = vec![rule([ported(), vec![ex::in_set(NAME_PORTS, FIRST)], refuse()])];
    all.extend(Family::BOTH.map(|family| {
        let there = vec![
            ex::equals(FIRST, &443_u16.to_be_bytes()),
            ex::address(family, Side::Destination, FIRST),
            ex::in_set(over_https(family), FIRST),
        ];
        rule([of(family), ported(), there, refuse()])
    }));
    all.push(rule([ex::connection_state(ESTABLISHED | RELATED).to_vec(), vec![ex::accept()]]));
    let look = |family, set| {
        let key = vec![
            ex::meta(Meta::InInterface, FIRST),
            ex::address(family, Side::Destination, SECOND),
            ex::in_set(set, FIRST),
        ];
        rule([of(family), key])
    };
    all.extend(Family::BOTH.map(|family| rule([look(family, denied(family)), refuse()])));
    for set in [learned, allowed] {
        all.extend(Family::BOTH.map(|family| rule([look(family, set(family)), vec![ex::accept()]])));
    }
    all.push(vec![ex::meta(Meta::InInterface, FIRST), ex::in_set(ALLOWING, FIRST), ex::accept()]);
    all.push(refuse());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_resolver_over_https_is_one() {
        assert!(doh::ADDRESSES.iter().all(|text| text.parse::<IpNet>().is_ok()));
    }

    #[test]
    fn numbers_become_ranges_of_one() {
        let ports = constants().into_iter().find(|set| set.name == NAME_PORTS).expect("a set");
        let expected = [(vec![0, 53], false), (vec![0, 54], true), (vec![3, 85], false), (vec![3, 86], true)];
        assert_eq!(ports.borders.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn whatever_is_not_let_through_is_refused() {
        let rules = rules();
        assert_eq!(rules.last(), Some(&vec![ex::go_to(refusal::chain(Refusal::Policy))]));
        assert_eq!(rules.iter().filter(|rule| rule.last() == Some(&ex::accept())).count(), 6);
    }
}
