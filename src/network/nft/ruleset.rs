//! The rules, as a pure function of what the operator decided.
//!
//! | from | to | |
//! |---|---|---|
//! | a sandbox, with an address that is not its own | anywhere | dropped before anything else sees it |
//! | a sandbox | the resolver on the gateway's addresses | passes |
//! | a sandbox | another sandbox of the same network ([`together`]) | as its policy says |
//! | a sandbox | any other sandbox, any other address or port of the host | refused |
//! | a sandbox | what is closed ([`range::closed`]) | refused |
//! | a sandbox | a network that the host is connected to ([`super::near`]) | refused |
//! | a sandbox under a policy | anywhere else | as its policy says ([`policed`]) |
//! | a sandbox | anywhere else | passes, with the host's address, up to so many connections at once |
//! | anywhere | a sandbox | dropped, unless it is an answer |
//! | the host | a sandbox | root and answers pass |
//!
//! Rules that drop come before any that accept by the state of a connection.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bound::{self, CONNECTIONS, PACE};
use super::expression::{self as ex, ESTABLISHED, Expression, FIRST, INVALID, Meta, RELATED, SECOND, Side};
use super::near::near;
use super::policed::{self, PolicySet};
use super::refusal::{self, REASONS};
use super::together;
use crate::model::Refusal;
use crate::network::address::AddressPool;
use crate::network::range::{self, Family};

/// What the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandboxes {
    /// The group of the host's ends of all pairs.
    pub group: u32,
    pub pool_v4: Ipv4Net,
    pub pool_v6: Option<Ipv6Net>,
    pub open: Vec<IpNet>,
    /// How many connections a sandbox has at once that was not given another bound.
    pub connections: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    pub sets: Vec<Set>,
    /// Those of the policies of sandboxes.
    pub policy_sets: Vec<PolicySet>,
    pub chains: Vec<Chain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub key_length: u32,
    /// Of what a map has for a key; 0 is no map.
    pub value_length: u32,
    /// Ranges, as their borders; otherwise single keys, each with a counter, that come and go.
    pub borders: Option<Vec<(Vec<u8>, bool)>>,
    /// What is attached to an element that brings nothing else along; ranges have nothing.
    pub attached: Option<Expression>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: &'static str,
    pub hook: Option<Hook>,
    pub rules: Vec<Vec<Expression>>,
}

/// Where packets come into a chain by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    pub number: u32,
    pub priority: i32,
    pub kind: &'static str,
}

const fn hook(number: u32, priority: i32, kind: &'static str) -> Option<Hook> {
    Some(Hook { number, priority, kind })
}

/// Before connections are tracked.
const RAW: i32 = -300;
/// Before the chains that others usually have.
const EARLY: i32 = -10;
const SOURCE_NAT: i32 = 100;
/// The index of `lo`, in every network namespace.
const LOOPBACK: u32 = 1;

/// Elements of a family: interface and address of every sandbox, counted by what it sends.
#[must_use]
pub fn sources(family: Family) -> &'static str {
    if family == Family::V4 { "sources4" } else { "sources6" }
}

/// The same, counted by what comes to it.
#[must_use]
pub fn destinations(family: Family) -> &'static str {
    if family == Family::V4 { "destinations4" } else { "destinations6" }
}

/// Interfaces, counted by what was refused to them.
pub const REFUSED: &str = "refused";

fn closed(family: Family) -> &'static str {
    if family == Family::V4 { "closed4" } else { "closed6" }
}

impl Sandboxes {
    #[must_use]
    pub fn ruleset(&self) -> Ruleset {
        Ruleset { sets: self.sets(), policy_sets: policed::policy_sets(), chains: self.chains() }
    }

    fn sets(&self) -> Vec<Set> {
        let counted = |name: &str, key_length| Set {
            name: name.into(),
            key_length,
            value_length: 0,
            borders: None,
            attached: Some(ex::counter()),
        };
        let ranges = |name: &str, key_length, borders| Set {
            name: name.into(),
            key_length,
            value_length: 0,
            borders: Some(borders),
            attached: None,
        };
        // Each element brings its own along: where the kernel copies that of the set, it counts its users of the
        // tracking of connections wrongly, and switches it off (seen with Linux 6.18).
        let bound = Set { attached: None, ..counted(CONNECTIONS, 4) };
        let pace = Set { attached: Some(bound::faster(self.connections)), ..counted(PACE, 4) };
        let mut all = vec![counted(REFUSED, 4), counted(REASONS, 8), bound, pace];
        for family in Family::BOTH {
            let length = family.length() as u32;
            let borders = range::borders(family, &range::closed(family, &self.open));
            all.extend([sources(family), destinations(family)].map(|name| counted(name, 4 + length)));
            all.extend([ranges(closed(family), length, borders), ranges(near(family), length, Vec::new())]);
        }
        all.extend(policed::constants());
        all.extend(together::sets());
        all
    }

    fn chains(&self) -> Vec<Chain> {
        let from_sandbox = |to: &str| rule([self.in_group(), vec![ex::go_to(to)]]);
        let chain = |name, hook, rules| Chain { name, hook, rules };
        // Those that are gone to come first.
        let mut all =
            vec![chain("refuse", None, refuse(vec![ex::reject()])), chain("drop", None, refuse(vec![ex::drop_it()]))];
        all.extend(Refusal::ALL.map(|reason| chain(refusal::chain(reason), None, refusal::rules(reason))));
        all.extend([
            chain("from", None, from()),
            chain(policed::CHAIN, None, policed::rules()),
            chain("gate", None, policed::gate().to_vec()),
            chain(together::CHAIN, None, together::rules("gate")),
            chain("outbound", None, self.outbound()),
            chain("inbound", None, inbound()),
            chain("to_host", None, self.to_host()),
            chain("from_host", None, from_host()),
            chain("bound", None, bound::rules()),
            chain("prerouting", hook(0, RAW, "filter"), vec![from_sandbox("from")]),
            chain("input", hook(1, EARLY, "filter"), vec![from_sandbox("to_host")]),
            chain(
                "forward",
                hook(2, EARLY, "filter"),
                vec![from_sandbox("outbound"), rule([self.out_group(true), vec![ex::go_to("inbound")]])],
            ),
            chain(
                "output",
                hook(3, EARLY, "filter"),
                [vec![rule([self.out_group(true), vec![ex::go_to("from_host")]])], self.to_nobody()].concat(),
            ),
            // What the two before have let pass.
            chain("bound_input", hook(1, EARLY + 1, "filter"), vec![from_sandbox("bound")]),
            chain("bound_forward", hook(2, EARLY + 1, "filter"), vec![from_sandbox("bound")]),
            chain("postrouting", hook(4, SOURCE_NAT, "nat"), self.translate()),
        ]);
        all
    }

    fn in_group(&self) -> Vec<Expression> {
        vec![ex::meta(Meta::InGroup, FIRST), ex::equals(FIRST, &self.group.to_ne_bytes())]
    }

    fn out_group(&self, ours: bool) -> Vec<Expression> {
        let group = self.group.to_ne_bytes();
        vec![ex::meta(Meta::OutGroup, FIRST), if ours { ex::equals(FIRST, &group) } else { ex::differs(FIRST, &group) }]
    }

    fn outbound(&self) -> Vec<Vec<Expression>> {
        let mut rules = Family::BOTH.map(|family| rule([self.out_group(true), together::entrance(family)])).to_vec();
        rules.extend([
            rule([self.out_group(true), vec![go_to(Refusal::Sandbox)]]),
            rule([ex::connection_state(INVALID).to_vec(), vec![go_to(Refusal::State)]]),
        ]);
        for family in Family::BOTH {
            rules.extend([closed(family), near(family)].map(|set| {
                let look = vec![ex::address(family, Side::Destination, FIRST), ex::in_set(set, FIRST)];
                rule([of(family), look, vec![go_to(Refusal::Range)]])
            }));
        }
        rules.extend(policed::gate());
        rules
    }

    /// Names are asked for, and nothing else.
    fn to_host(&self) -> Vec<Vec<Expression>> {
        let gateway = AddressPool::new(self.pool_v4, self.pool_v6).gateway();
        let mut rules = vec![rule([answers(), vec![ex::accept()]])];
        for address in gateway.each() {
            let family = Family::of(address);
            for protocol in [libc::IPPROTO_UDP, libc::IPPROTO_TCP] {
                let names = vec![
                    ex::address(family, Side::Destination, FIRST),
                    ex::equals(FIRST, &range::bytes(family, range::number(address))),
                    ex::meta(Meta::Protocol, FIRST),
                    ex::equals(FIRST, &[protocol as u8]),
                    ex::port(FIRST),
                    ex::equals(FIRST, &53_u16.to_be_bytes()),
                    ex::accept(),
                ];
                rules.push(rule([of(family), names]));
            }
        }
        rules.push(vec![go_to(Refusal::Host)]);
        rules
    }

    /// What the host says to a sandbox that has gone would leave by the host's own way out.
    fn to_nobody(&self) -> Vec<Vec<Expression>> {
        let elsewhere = || vec![ex::meta(Meta::OutInterface, FIRST), ex::differs(FIRST, &LOOPBACK.to_ne_bytes())];
        let refuse = |pool| {
            rule([self.out_group(false), elsewhere(), of_pool(pool, Side::Destination), vec![ex::go_to("drop")]])
        };
        self.pools().map(refuse).collect()
    }

    fn translate(&self) -> Vec<Vec<Expression>> {
        let translate = |pool| rule([self.out_group(false), of_pool(pool, Side::Source), vec![ex::masquerade()]]);
        self.pools().map(translate).collect()
    }

    fn pools(&self) -> impl Iterator<Item = IpNet> {
        [Some(self.pool_v4.into()), self.pool_v6.map(IpNet::V6)].into_iter().flatten()
    }
}

/// A packet with an address of the pool.
fn of_pool(pool: IpNet, side: Side) -> Vec<Expression> {
    let family = Family::of(pool.addr());
    let netmask = range::bytes(family, range::number(pool.netmask()));
    let network = range::bytes(family, range::number(pool.network()));
    let ours = vec![ex::address(family, side, FIRST), ex::mask(FIRST, &netmask), ex::equals(FIRST, &network)];
    rule([of(family), ours])
}

pub(super) fn rule<const N: usize>(parts: [Vec<Expression>; N]) -> Vec<Expression> {
    parts.into_iter().flatten().collect()
}

pub(super) fn of(family: Family) -> Vec<Expression> {
    let number = if family == Family::V4 { libc::NFPROTO_IPV4 } else { libc::NFPROTO_IPV6 };
    vec![ex::meta(Meta::Family, FIRST), ex::equals(FIRST, &[number as u8])]
}

fn go_to(reason: Refusal) -> Expression {
    ex::go_to(refusal::chain(reason))
}

/// Counts for the interface, where it came from one of ours, and for all.
fn refuse(end: Vec<Expression>) -> Vec<Vec<Expression>> {
    let of_sandbox = vec![ex::meta(Meta::InInterface, FIRST), ex::in_set(REFUSED, FIRST)];
    vec![of_sandbox, rule([vec![ex::counter()], end])]
}

fn from() -> Vec<Vec<Expression>> {
    let own = |family| {
        let look = vec![
            ex::meta(Meta::InInterface, FIRST),
            ex::address(family, Side::Source, SECOND),
            ex::in_set(sources(family), FIRST),
        ];
        rule([of(family), look, vec![ex::accept()]])
    };
    vec![own(Family::V4), own(Family::V6), vec![go_to(Refusal::Address)]]
}

fn answers() -> Vec<Expression> {
    ex::connection_state(ESTABLISHED | RELATED).to_vec()
}

fn inbound() -> Vec<Vec<Expression>> {
    let counted = |family| {
        let look = vec![
            ex::meta(Meta::OutInterface, FIRST),
            ex::address(family, Side::Destination, SECOND),
            ex::in_set(destinations(family), FIRST),
        ];
        rule([answers(), of(family), look, vec![ex::accept()]])
    };
    vec![counted(Family::V4), counted(Family::V6), vec![ex::go_to("drop")]]
}

fn from_host() -> Vec<Vec<Expression>> {
    let root = vec![ex::meta(Meta::SocketUser, FIRST), ex::equals(FIRST, &0_u32.to_ne_bytes()), ex::accept()];
    vec![rule([answers(), vec![ex::accept()]]), root, vec![ex::go_to("drop")]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandboxes(open: &[&str]) -> Sandboxes {
        Sandboxes {
            group: 7,
            pool_v4: "10.9.0.0/16".parse().expect("a net"),
            pool_v6: Some("fd00::/64".parse().expect("a net")),
            open: open.iter().map(|text| text.parse().expect("a net")).collect(),
            connections: 100,
        }
    }

    #[test]
    fn a_chain_ends_in_a_verdict_and_goes_only_to_what_stands_before_it() {
        let ruleset = sandboxes(&[]).ruleset();
        let verdicts = |rule: &Vec<Expression>| rule.len() == 1;
        for chain in
            ruleset.chains.iter().filter(|chain| chain.hook.is_none() && !["refuse", "drop"].contains(&chain.name))
        {
            assert!(chain.rules.last().is_some_and(verdicts), "{} falls through", chain.name);
        }
    }

    #[test]
    fn what_is_opened_changes_the_sets_alone() {
        let (closed, open) = (sandboxes(&[]).ruleset(), sandboxes(&["10.1.0.0/16", "fd05::/16"]).ruleset());
        assert_eq!(closed.chains, open.chains);
        assert_ne!(closed.sets, open.sets);
    }
}
