//! Networks that several sandboxes share: who is in one reaches the addresses of all others in it.
//!
//! A packet from one sandbox to another passes when the interface that it comes from and the address that it goes to are in the same
//! network, whichever of the two has begun; the policy of the sender holds as it does for the way out. The networks have numbers.
//!
//! The number goes from the map to the set as the packet's mark, for the time of two rules. Without that, `nft` 1.0.6 (Debian 12)
//! aborts where it should list the table.

use std::collections::{HashMap, HashSet};

use super::element::{Member, key, link_of};
use super::expression::{self as ex, Expression, FIRST, INVALID, Meta, SECOND, Side};
use super::refusal::chain;
use super::ruleset::{Set, destinations, of, rule};
use super::table::{DELSETELEM, GETSETELEM, NEWSETELEM, Table, batch};
use crate::model::Refusal;
use crate::network::netlink::{Attributes, Message, NetlinkError, Protocol, transact};
use crate::network::range::Family;

/// The chain of packets within a network.
pub const CHAIN: &str = "together";
/// Interfaces, each with the number of its network.
pub const NETWORKS: &str = "networks";

/// Number of a network and address of each of its sandboxes.
#[must_use]
pub fn peers(family: Family) -> &'static str {
    if family == Family::V4 { "peers4" } else { "peers6" }
}

pub fn sets() -> Vec<Set> {
    let set =
        |name: &str, key_length| Set { name: name.into(), key_length, value_length: 0, borders: None, attached: None };
    let mut all = vec![Set { value_length: 4, ..set(NETWORKS, 4) }];
    all.extend(Family::BOTH.map(|family| set(peers(family), 4 + family.length() as u32)));
    all
}

/// Goes to the chain when both are in the same network; the packet is marked until then.
pub fn entrance(family: Family) -> Vec<Expression> {
    let look = vec![
        ex::meta(Meta::InInterface, FIRST),
        ex::from_map(NETWORKS, FIRST, FIRST),
        ex::set_mark(FIRST),
        ex::meta(Meta::Mark, FIRST),
        ex::address(family, Side::Destination, SECOND),
        ex::in_set(peers(family), FIRST),
        ex::go_to(CHAIN),
    ];
    rule([of(family), look])
}

/// Counted for whom it is for, where the address is his whose interface it goes to; `next` decides by the sender's policy.
pub fn rules(next: &str) -> Vec<Vec<Expression>> {
    let refuse = |reason| vec![ex::go_to(chain(reason))];
    let mut all = vec![vec![ex::load(&[0; 4], FIRST), ex::set_mark(FIRST)]];
    all.push(rule([ex::connection_state(INVALID).to_vec(), refuse(Refusal::State)]));
    all.extend(Family::BOTH.map(|family| {
        let arrives = vec![
            ex::meta(Meta::OutInterface, FIRST),
            ex::address(family, Side::Destination, SECOND),
            ex::in_set(destinations(family), FIRST),
            ex::go_to(next),
        ];
        rule([of(family), arrives])
    }));
    all.push(refuse(Refusal::Sandbox));
    all
}

/// The keys of a sandbox's addresses in its network.
pub fn peer_keys(member: &Member, family: Family) -> Vec<Vec<u8>> {
    let Some(network) = member.network else { return Vec::new() };
    let own = member.addresses.iter().filter(|address| Family::of(**address) == family);
    own.map(|address| key(network, *address)).collect()
}

impl Table {
    /// The elements by which the addresses of these are in their networks.
    pub(super) fn addresses(&self, kind: u16, members: &[Member]) -> Vec<Message> {
        let of = |family| {
            let keys = members.iter().flat_map(|member| peer_keys(member, family)).map(|key| (key, false));
            self.element_messages(kind, peers(family), &keys.collect::<Vec<_>>())
        };
        Family::BOTH.into_iter().flat_map(of).collect()
    }

    /// The elements by which their interfaces are.
    pub(super) fn joining(&self, members: &[Member]) -> Vec<Message> {
        let bytes = |number: u32| Attributes::new().bytes(1, &number.to_ne_bytes());
        let of_networks = members.iter().filter_map(|member| Some((member.link, member.network?)));
        let pair = |(link, network)| Attributes::new().nest(1, &bytes(link)).nest(2, &bytes(network));
        self.element_lists(NEWSETELEM, NETWORKS, &of_networks.map(pair).collect::<Vec<_>>())
    }

    /// Takes away what there is of their interfaces, where `goes` says so of the number that is there and the one that should be.
    pub(super) fn leaving(
        &self,
        members: &[Member],
        goes: impl Fn(u32, u32) -> bool,
    ) -> Result<Vec<Message>, NetlinkError> {
        if members.iter().all(|member| member.network.is_none()) {
            return Ok(Vec::new());
        }
        let found = self.networks()?;
        let gone = |member: &&Member| {
            found.get(&member.link).zip(member.network).is_some_and(|(found, wanted)| goes(*found, wanted))
        };
        let keys = members.iter().filter(gone).map(|member| (member.link.to_ne_bytes().to_vec(), false));
        Ok(self.element_messages(DELSETELEM, NETWORKS, &keys.collect::<Vec<_>>()))
    }

    pub(super) fn asking_networks(&self, member: &Member) -> Vec<Message> {
        let mut all = self.addresses(GETSETELEM, std::slice::from_ref(member));
        if member.network.is_some() {
            all.extend(self.asking(NETWORKS, &[member.link.to_ne_bytes().to_vec()]));
        }
        all
    }

    /// Every interface that is in a network, with its number.
    pub(super) fn networks(&self) -> Result<HashMap<u32, u32>, NetlinkError> {
        let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let all = self.list(NETWORKS)?;
        Ok(all.iter().filter_map(|element| Some((link_of(&element.key)?, number(&element.value)?))).collect())
    }

    /// Removes the interfaces and addresses of all others, and what is in another network than it should be.
    pub(super) fn keep_only_networks(&self, members: &[Member]) -> Result<(), NetlinkError> {
        let wanted: HashMap<u32, u32> = members.iter().filter_map(|one| Some((one.link, one.network?))).collect();
        let stale = self.networks()?.into_iter().filter(|(link, network)| wanted.get(link) != Some(network));
        let stale: Vec<_> = stale.map(|(link, _)| (link.to_ne_bytes().to_vec(), false)).collect();
        transact(Protocol::Netfilter, &batch(self.element_messages(DELSETELEM, NETWORKS, &stale)))?;
        for family in Family::BOTH {
            let kept: HashSet<Vec<u8>> = members.iter().flat_map(|member| peer_keys(member, family)).collect();
            self.remove_unless(peers(family), |key| kept.contains(key))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nft::on_trial::with_table;

    fn member(number: u8, network: Option<u32>) -> Member {
        let v6 = std::net::Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)]);
        let addresses = vec![[10, 9, 0, number].into(), v6.into()];
        Member { link: number.into(), addresses, connections: 100, network }
    }

    #[test]
    fn who_is_in_no_network_has_no_elements() {
        assert_eq!(peer_keys(&member(2, None), Family::V4), Vec::<Vec<u8>>::new());
        assert_eq!(peer_keys(&member(2, Some(7)), Family::V4), [[&7_u32.to_ne_bytes()[..], &[10, 9, 0, 2]].concat()]);
    }

    #[test]
    fn an_operator_can_list_the_rules() {
        with_table(|table, _| {
            table.add(&[member(2, Some(7))]).expect("added");
            let listed = std::process::Command::new("nft").args(["list", "ruleset"]).output().expect("nft starts");
            let text = String::from_utf8_lossy(&listed.stdout);
            assert!(listed.status.success() && text.contains("0x00000007 . 10.9.0.2"), "{listed:?}");
        });
    }

    #[test]
    fn membership_is_kept_by_the_kernel_and_goes_with_the_sandbox() {
        with_table(|table, _| {
            let (one, two, alone) = (member(2, Some(7)), member(3, Some(7)), member(4, None));
            let all = [one.clone(), two.clone(), alone.clone()];
            table.add(&all).expect("added");
            assert_eq!(table.have(&all).expect("asked"), [true; 3]);
            let counts = || [NETWORKS, "peers4", "peers6"].map(|set| table.list(set).expect("listed").len());
            assert_eq!(counts(), [2, 2, 2]);
            // One that is there without its network is not as it should be.
            let joined = Member { network: Some(7), ..alone };
            assert_eq!(table.have(std::slice::from_ref(&joined)).expect("asked"), [false]);
            table.remove(std::slice::from_ref(&one)).expect("removed");
            assert_eq!(
                (counts(), table.have(&[one.clone(), two.clone()]).expect("asked")),
                ([1; 3], vec![false, true])
            );
            table.remove(&[one]).expect("removed again");
            table.add(std::slice::from_ref(&joined)).expect("added");
            table.keep_only(std::slice::from_ref(&joined)).expect("kept");
            assert_eq!((counts(), table.have(&[joined, two]).expect("asked")), ([1; 3], vec![true, false]));
        });
    }

    #[test]
    fn a_number_that_somebody_changed_is_set_right() {
        with_table(|table, _| {
            let (one, alone) = (member(2, Some(7)), member(3, None));
            let both = [one.clone(), alone.clone()];
            let change = || {
                let change = |members: &[Member]| {
                    let mut messages = table.leaving(std::slice::from_ref(&one), |_, _| true).expect("asked");
                    messages.extend(table.joining(members));
                    transact(Protocol::Netfilter, &batch(messages)).expect("changed");
                };
                change(&[Member { network: Some(8), ..one.clone() }, Member { network: Some(8), ..alone.clone() }]);
                assert_eq!(table.have(&both).expect("asked"), [false, true]);
            };
            table.add(&both).expect("added");
            change();
            table.keep_only(&both).expect("kept");
            assert_eq!(table.networks().expect("listed"), HashMap::new());
            table.add(&both).expect("added");
            change();
            table.add(std::slice::from_ref(&one)).expect("added over it");
            assert_eq!(table.have(&both).expect("asked"), [true; 2]);
            table.keep_only(&both).expect("kept");
            change();
            table.remove(std::slice::from_ref(&one)).expect("removed");
            assert_eq!(table.networks().expect("listed"), HashMap::from([(3, 8)]));
        });
    }
}
