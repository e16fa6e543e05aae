//! The table in the kernel: made or found, read back, and its elements.

use std::collections::HashSet;

use nix::errno::Errno;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::bound::{self, CONNECTIONS, PACE};
use super::element::{Element, Member, key, link_of, read};
use super::expression;
use super::refusal::{self, REASONS};
use super::ruleset::{self, Chain, REFUSED, Ruleset, Sandboxes, Set, destinations, sources};
use super::together::{NETWORKS, peer_keys, peers};
use crate::model::Refusal;
use crate::network::netlink::{
    APPEND, Attributes, CREATE, Message, NetlinkError, Protocol, attributes, dump, transact,
};
use crate::network::range::Family;

pub(super) const SUBSYSTEM: u16 = 10;
const NFPROTO_INET: u8 = 1;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
pub(super) const NEWSET: u16 = 9;
pub(super) const NEWSETELEM: u16 = 12;
pub(super) const GETSETELEM: u16 = 13;
pub(super) const DELSETELEM: u16 = 14;
const USERDATA: u16 = 6;

const INTERVAL: u32 = 0x4;
/// The set may be changed from the packet's path, which chooses a hash that grows and shrinks.
const DYNAMIC: u32 = 0x20;
const MAP: u32 = 0x8;
/// Four bytes that `nft` prints as a number.
const MARK: u32 = 19;
const INTERVAL_END: u32 = 1;
/// A message holds less than 64 KiB.
const ELEMENTS: usize = 500;

#[derive(Debug, PartialEq, Eq, Error)]
pub enum CannotFilter {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("install the packet filter: the kernel has {found} rules in table {table} instead of {wanted}")]
    NotKept { table: String, wanted: usize, found: usize },
    #[error("install the packet filter: table {table} has not kept an {what}")]
    ElementNotKept { table: String, what: String },
}

/// The daemon's own table.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) name: String,
}

impl Table {
    /// Finds the table with just these rules, and leaves it as it is, or puts it in place in one step. What stays keeps its
    /// elements and counters. True if it had to be put in place, and is empty.
    pub fn open(name: &str, sandboxes: &Sandboxes) -> Result<(Self, bool), CannotFilter> {
        let table = Self { name: name.to_owned() };
        let is_new = table.restore(sandboxes)?;
        Ok((table, is_new))
    }

    /// Takes the table of this name away with all that it has, if it is there.
    pub fn remove_whole(name: &str) -> Result<(), NetlinkError> {
        let table = Self { name: name.to_owned() };
        match transact(Protocol::Netfilter, &batch(vec![table.table(DELTABLE, 0, None)])) {
            Err(NetlinkError { errno: Errno::ENOENT, .. }) => Ok(()),
            done => done,
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts the rules in place where they are not as they should be; true if they were not.
    pub fn restore(&self, sandboxes: &Sandboxes) -> Result<bool, CannotFilter> {
        let ruleset = sandboxes.ruleset();
        let seal = seal(&ruleset);
        let wanted = count(&ruleset);
        if self.seal()?.as_deref() == Some(&seal[..]) && self.rules()? == wanted && self.has_ranges(&ruleset)? {
            return Ok(false);
        }
        transact(Protocol::Netfilter, &batch(self.install(&ruleset, &seal)))?;
        let found = self.rules()?;
        if wanted == found { Ok(true) } else { Err(CannotFilter::NotKept { table: self.name.clone(), wanted, found }) }
    }

    /// Lets the packets of these sandboxes through, and reads back that it does.
    pub fn add(&self, members: &[Member]) -> Result<(), CannotFilter> {
        transact(Protocol::Netfilter, &batch(self.addition(members)?))?;
        for member in members {
            self.check(member)?;
        }
        Ok(())
    }

    /// From now on whatever comes from them is dropped. Those that are not there are removed.
    pub fn remove(&self, members: &[Member]) -> Result<(), NetlinkError> {
        transact(Protocol::Netfilter, &batch(self.removal(members)?))
    }

    /// The requests that let these through. What a map has for another network goes before: it would fail the whole batch.
    pub(super) fn addition(&self, members: &[Member]) -> Result<Vec<Message>, NetlinkError> {
        let mut all = self.leaving(members, |found, wanted| found != wanted)?;
        all.extend(self.elements(NEWSETELEM, members));
        all.extend(self.joining(members));
        Ok(all)
    }

    /// The requests that take everything of these away. An element that is missing would fail the whole batch, so each is added
    /// first; one of a map is looked for instead, as adding takes the value that is there.
    pub(super) fn removal(&self, members: &[Member]) -> Result<Vec<Message>, NetlinkError> {
        let mut all = self.elements(NEWSETELEM, members);
        all.extend(self.elements(DELSETELEM, members));
        all.extend(self.leaving(members, |_, _| true)?);
        Ok(all)
    }

    /// Of each, whether its packets are let through from all of its addresses, and bounded and counted.
    pub fn have(&self, members: &[Member]) -> Result<Vec<bool>, NetlinkError> {
        let keys = |set| -> Result<HashSet<Vec<u8>>, NetlinkError> {
            Ok(self.list(set)?.into_iter().map(|element| element.key).collect())
        };
        let [v4, v6] = Family::BOTH;
        let sources = &keys(sources(v4))? | &keys(sources(v6))?;
        let by_link = [keys(REFUSED)?, keys(PACE)?, keys(CONNECTIONS)?];
        let (networks, known_peers) = (self.networks()?, &keys(peers(v4))? | &keys(peers(v6))?);
        let has = |member: &Member| {
            let link = member.link.to_ne_bytes();
            by_link.iter().all(|set| set.contains(&link[..]))
                && member.addresses.iter().all(|address| sources.contains(&key(member.link, *address)))
                && member.network.is_none_or(|network| networks.get(&member.link) == Some(&network))
                && Family::BOTH
                    .iter()
                    .all(|family| peer_keys(member, *family).iter().all(|key| known_peers.contains(key)))
        };
        Ok(members.iter().map(has).collect())
    }

    /// Removes everything that speaks of others than these.
    pub fn keep_only(&self, members: &[Member]) -> Result<(), NetlinkError> {
        let is_known = |link| members.iter().any(|member| member.link == link);
        for set in all_sets() {
            self.remove_unless(set, |key| link_of(key).is_some_and(is_known))?;
        }
        self.keep_only_networks(members)
    }

    pub(super) fn remove_unless(&self, set: &str, stays: impl Fn(&[u8]) -> bool) -> Result<(), NetlinkError> {
        let all = self.list(set)?.into_iter().map(|element| element.key);
        let stale: Vec<_> = all.filter(|key| !stays(key)).map(|key| (key, false)).collect();
        transact(Protocol::Netfilter, &batch(self.element_messages(DELSETELEM, set, &stale)))
    }

    fn seal(&self) -> Result<Option<Vec<u8>>, NetlinkError> {
        let tables = dump(Protocol::Netfilter, &message("NFT_MSG_GETTABLE", GETTABLE, 0, &Attributes::new()))?;
        let of_name = |body: &Vec<u8>| {
            let body = body.get(4..)?;
            let (_, name) = attributes(body).find(|(kind, _)| *kind == 1)?;
            let ours = name.strip_suffix(&[0]) == Some(self.name.as_bytes());
            ours.then(|| attributes(body).find(|(kind, _)| *kind == USERDATA).map(|(_, seal)| seal.to_vec()))
        };
        Ok(tables.iter().find_map(of_name).flatten())
    }

    fn rules(&self) -> Result<usize, NetlinkError> {
        let which = Attributes::new().text(1, &self.name);
        match dump(Protocol::Netfilter, &message("NFT_MSG_GETRULE", GETRULE, 0, &which)) {
            Ok(rules) => Ok(rules.len()),
            Err(NetlinkError { errno: Errno::ENOENT, .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether nobody has taken a range out of the sets that do not change.
    fn has_ranges(&self, ruleset: &Ruleset) -> Result<bool, NetlinkError> {
        for set in &ruleset.sets {
            let wanted = set.borders.as_ref().map_or(0, Vec::len);
            if wanted > 0 && self.list(&set.name)?.len() != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the table, throws it away, and makes it anew: so the one that was there before is gone in the same moment.
    fn install(&self, ruleset: &Ruleset, seal: &[u8]) -> Vec<Message> {
        let mut all = vec![
            self.table(NEWTABLE, CREATE, None),
            self.table(DELTABLE, 0, None),
            self.table(NEWTABLE, CREATE, Some(seal)),
        ];
        for (number, set) in (1..).zip(&ruleset.sets) {
            all.push(self.set(set, number));
            let borders = set.borders.as_deref().unwrap_or_default();
            all.extend(self.element_messages(NEWSETELEM, &set.name, borders));
        }
        let after = ruleset.sets.len() as u32 + 1;
        all.extend((after..).zip(&ruleset.policy_sets).map(|(number, set)| set.make(&self.name, number)));
        all.extend(ruleset.chains.iter().map(|chain| self.chain(chain)));
        for chain in &ruleset.chains {
            all.extend(chain.rules.iter().map(|rule| self.rule(chain.name, rule)));
        }
        all
    }

    fn table(&self, kind: u16, flags: u16, seal: Option<&[u8]>) -> Message {
        let mut table = Attributes::new().text(1, &self.name);
        if let Some(seal) = seal {
            table = table.bytes(USERDATA, seal);
        }
        let what = if kind == DELTABLE { "NFT_MSG_DELTABLE" } else { "NFT_MSG_NEWTABLE" };
        message(&format!("{what}({})", self.name), kind, flags, &table)
    }

    fn set(&self, set: &Set, number: u32) -> Message {
        let flags = match set.name.as_str() {
            _ if set.borders.is_some() => INTERVAL,
            _ if set.value_length > 0 => MAP,
            // Of a dynamic set the kernel takes elements away that have no connections.
            CONNECTIONS => 0,
            _ => DYNAMIC,
        };
        let mut made = Attributes::new()
            .text(1, &self.name)
            .text(2, &set.name)
            .number(3, flags)
            .number(4, key_type(&set.name))
            .number(5, set.key_length)
            .number(10, number);
        if set.value_length > 0 {
            made = made.number(6, MARK).number(7, set.value_length);
        }
        if let Some(attached) = &set.attached {
            made = made.nest(17, &attached.encode());
        }
        message(&format!("NFT_MSG_NEWSET({})", set.name), NEWSET, CREATE, &made)
    }

    fn chain(&self, chain: &Chain) -> Message {
        let mut made = Attributes::new().text(1, &self.name).text(3, chain.name);
        if let Some(hook) = chain.hook {
            let place = Attributes::new().number(1, hook.number).number(2, hook.priority.cast_unsigned());
            const ACCEPT: u32 = 1;
            made = made.nest(4, &place).number(5, ACCEPT).text(7, hook.kind);
        }
        message(&format!("NFT_MSG_NEWCHAIN({})", chain.name), NEWCHAIN, CREATE, &made)
    }

    fn rule(&self, chain: &str, rule: &[expression::Expression]) -> Message {
        let list = rule.iter().fold(Attributes::new(), |list, one| list.nest(1, &one.encode()));
        let made = Attributes::new().text(1, &self.name).text(2, chain).nest(4, &list);
        message(&format!("NFT_MSG_NEWRULE({chain})"), NEWRULE, CREATE | APPEND, &made)
    }

    pub(super) fn elements(&self, kind: u16, members: &[Member]) -> Vec<Message> {
        let by_link = members.iter().map(|member| (member.link.to_ne_bytes().to_vec(), false)).collect::<Vec<_>>();
        let mut all = self.element_messages(kind, REFUSED, &by_link);
        all.extend(self.element_messages(kind, PACE, &by_link));
        all.extend(self.bounds(kind, members));
        all.extend(self.addresses(kind, members));
        let reasons = members.iter().flat_map(|member| Refusal::ALL.map(|reason| refusal::key(member.link, reason)));
        all.extend(self.element_messages(kind, REASONS, &reasons.map(|key| (key, false)).collect::<Vec<_>>()));
        for family in Family::BOTH {
            let own = |member: &Member| {
                let of_family = member.addresses.iter().filter(|address| Family::of(**address) == family);
                of_family.map(|address| (key(member.link, *address), false)).collect::<Vec<_>>()
            };
            let keys: Vec<_> = members.iter().flat_map(own).collect();
            for set in [sources(family), destinations(family)] {
                all.extend(self.element_messages(kind, set, &keys));
            }
        }
        all
    }

    pub(super) fn element_messages(&self, kind: u16, set: &str, keys: &[(Vec<u8>, bool)]) -> Vec<Message> {
        let encode = |list: Attributes, (key, ends): &(Vec<u8>, bool)| {
            let mut element = Attributes::new().nest(1, &Attributes::new().bytes(1, key));
            if *ends {
                element = element.number(3, INTERVAL_END);
            }
            list.nest(1, &element)
        };
        let one = |keys: &[(Vec<u8>, bool)]| self.element_list(kind, set, &keys.iter().fold(Attributes::new(), encode));
        keys.chunks(ELEMENTS).map(one).collect()
    }

    pub(super) fn element_lists(&self, kind: u16, set: &str, elements: &[Attributes]) -> Vec<Message> {
        let one = |elements: &[Attributes]| {
            let list = elements.iter().fold(Attributes::new(), |list, element| list.nest(1, element));
            self.element_list(kind, set, &list)
        };
        elements.chunks(ELEMENTS).map(one).collect()
    }

    fn element_list(&self, kind: u16, set: &str, list: &Attributes) -> Message {
        let flags = if kind == NEWSETELEM { CREATE } else { 0 };
        let which = Attributes::new().text(1, &self.name).text(2, set).nest(3, list);
        message(&format!("element of {set}"), kind, flags, &which)
    }

    /// The elements of the bound on connections.
    fn bounds(&self, kind: u16, members: &[Member]) -> Vec<Message> {
        let encode = |list: Attributes, member: &Member| {
            let mut element = Attributes::new().nest(1, &Attributes::new().bytes(1, &member.link.to_ne_bytes()));
            if kind == NEWSETELEM {
                element = element.nest(7, &bound::more_than(member.connections).encode());
            }
            list.nest(1, &element)
        };
        let one =
            |members: &[Member]| self.element_list(kind, CONNECTIONS, &members.iter().fold(Attributes::new(), encode));
        members.chunks(ELEMENTS).map(one).collect()
    }

    /// Asks for these elements of a set.
    pub(super) fn asking(&self, set: &str, keys: &[Vec<u8>]) -> Vec<Message> {
        self.element_messages(GETSETELEM, set, &keys.iter().map(|key| (key.clone(), false)).collect::<Vec<_>>())
    }

    /// Takes every element of a set away.
    pub(super) fn emptying(&self, set: &str) -> Message {
        let which = Attributes::new().text(1, &self.name).text(2, set);
        message(&format!("elements of {set}"), DELSETELEM, 0, &which)
    }

    pub(super) fn ranges(&self, set: &str, borders: &[(Vec<u8>, bool)]) -> Vec<Message> {
        self.element_messages(NEWSETELEM, set, borders)
    }

    pub(super) fn list(&self, set: &str) -> Result<Vec<Element>, NetlinkError> {
        let which = Attributes::new().text(1, &self.name).text(2, set);
        let bodies = dump(Protocol::Netfilter, &message("NFT_MSG_GETSETELEM", GETSETELEM, 0, &which))?;
        Ok(bodies.iter().flat_map(|body| read(body)).collect())
    }

    pub(super) fn check(&self, member: &Member) -> Result<(), CannotFilter> {
        for address in &member.addresses {
            let set = sources(Family::of(*address));
            for asked in self.element_messages(GETSETELEM, set, &[(key(member.link, *address), false)]) {
                self.expect(asked)?;
            }
        }
        self.asking_networks(member).into_iter().try_for_each(|asked| self.expect(asked))
    }

    /// Asks for elements that must be there.
    pub(super) fn expect(&self, asked: Message) -> Result<(), CannotFilter> {
        let Err(error) = transact(Protocol::Netfilter, std::slice::from_ref(&asked)) else { return Ok(()) };
        let missing = CannotFilter::ElementNotKept { table: self.name.clone(), what: asked.what };
        Err(if error.errno == Errno::ENOENT { missing } else { error.into() })
    }
}

fn all_sets() -> impl Iterator<Item = &'static str> {
    let [v4, v6] = Family::BOTH;
    let members = [ruleset::sources(v4), ruleset::sources(v6), destinations(v4), destinations(v6)];
    members.into_iter().chain([REFUSED, REASONS, PACE, CONNECTIONS])
}

/// What kind of key it is matters to those who print it: an interface, the number of a network with an address, or just bytes.
fn key_type(set: &str) -> u32 {
    const INTERFACE: u32 = 20;
    const BYTES: u32 = 41;
    let [v4, v6] = Family::BOTH;
    match set {
        NETWORKS => INTERFACE,
        _ if set == peers(v4) => MARK << 6 | 7,
        _ if set == peers(v6) => MARK << 6 | 8,
        _ => BYTES,
    }
}

fn count(ruleset: &Ruleset) -> usize {
    ruleset.chains.iter().map(|chain| chain.rules.len()).sum()
}

/// Changes with every change of the rules.
fn seal(ruleset: &Ruleset) -> [u8; 32] {
    Sha256::digest(format!("{ruleset:?}")).into()
}

/// `struct nfgenmsg`
pub(super) fn message(what: &str, kind: u16, flags: u16, attributes: &Attributes) -> Message {
    Message::new(what, SUBSYSTEM << 8 | kind, flags, &[NFPROTO_INET, 0, 0, 0], attributes)
}

/// All or nothing.
pub(super) fn batch(messages: Vec<Message>) -> Vec<Message> {
    const BEGIN: u16 = 0x10;
    const END: u16 = 0x11;
    if messages.is_empty() {
        return messages;
    }
    let header = [0, 0, 0, SUBSYSTEM as u8];
    let begin = Message::mark("the batch for the packet filter", BEGIN, &header);
    let end = Message::mark("the batch for the packet filter", END, &header);
    [begin].into_iter().chain(messages).chain([end]).collect()
}
