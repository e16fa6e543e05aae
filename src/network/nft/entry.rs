//! What a policy puts into the sets, and the requests for it.

use std::net::IpAddr;
use std::time::Duration;

use super::element::{key, link_of};
use super::policed::{self, Kind, PolicySet, policy_sets};
use super::table::{CannotFilter, DELSETELEM, GETSETELEM, NEWSET, NEWSETELEM, Table, batch, message};
use super::{Member, expression};
use crate::network::netlink::{Attributes, CREATE, Message, NetlinkError, Protocol, attributes, dump, transact};
use crate::network::range::{self, Family, Range};

/// `NFT_SET_INTERVAL`, `NFT_SET_TIMEOUT`
const INTERVAL: u32 = 0x4;
const TIMEOUT: u32 = 0x10;
/// `NFT_SET_ELEM_INTERVAL_END`
const END: u32 = 1;
/// What is kept beside an element is at most so long, its end included: any name. `nft` shows as much, but does not take it.
const COMMENT: usize = 254;
/// Elements of one request: each is answered with one message, and a socket takes so many.
const AT_ONCE: usize = 64;

/// One element.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    pub set: &'static str,
    key: Vec<u8>,
    /// The first key after a range.
    end: Option<Vec<u8>>,
    pub life: Option<Duration>,
    /// Kept beside the element, and shown by `nft`.
    pub comment: Option<String>,
}

/// How much of an element a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    /// Its keys.
    Bare,
    /// Its first key.
    Asked,
}

impl Entry {
    /// That the interface has none.
    #[must_use]
    pub fn free(link: u32) -> Self {
        Self::single(policed::FREE, link.to_ne_bytes().to_vec(), None)
    }

    /// That the interface has a policy, with a word that is another for another policy.
    #[must_use]
    pub fn policed(link: u32, word: &str) -> Self {
        Self::single(policed::POLICED, link.to_ne_bytes().to_vec(), Some(word))
    }

    #[must_use]
    pub fn allowing(link: u32) -> Self {
        Self::single(policed::ALLOWING, link.to_ne_bytes().to_vec(), None)
    }

    /// That an address was the answer for this name, for so long.
    #[must_use]
    pub fn learned(link: u32, address: IpAddr, life: Duration, name: &str) -> Self {
        let set = policed::learned(Family::of(address));
        Self { life: Some(life), ..Self::single(set, key(link, address), Some(name)) }
    }

    #[must_use]
    pub fn range(set: &'static str, link: u32, family: Family, range: Range) -> Self {
        let key = |number| [&link.to_ne_bytes()[..], &range::bytes(family, number)].concat();
        let (key, end) = (key(range.first), Some(after(key(range.last))));
        Self { set, key, end, life: None, comment: None }
    }

    fn single(set: &'static str, key: Vec<u8>, comment: Option<&str>) -> Self {
        Self { set, key, end: None, life: None, comment: comment.map(|text| text.chars().take(COMMENT - 1).collect()) }
    }

    /// The interface that it speaks of.
    #[must_use]
    pub fn link(&self) -> Option<u32> {
        link_of(&self.key)
    }

    /// The address of a key that has one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let rest = self.key.get(4..)?;
        let v4 = <[u8; 4]>::try_from(rest).ok().map(IpAddr::from);
        v4.or_else(|| <[u8; 16]>::try_from(rest).ok().map(IpAddr::from))
    }

    /// Appends the element, or, for a range, its first key and the one after it.
    fn put(&self, list: Attributes, form: Form) -> Attributes {
        let list = list.nest(1, &self.encode(form));
        match &self.end {
            Some(end) if form != Form::Asked => list.nest(1, &key_of(end).number(3, END)),
            _ => list,
        }
    }

    fn encode(&self, form: Form) -> Attributes {
        let mut element = key_of(&self.key);
        if let Some(life) = self.life.filter(|_| form == Form::Whole) {
            let millis = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
            element = element.bytes(4, &millis.to_be_bytes());
        }
        if let Some(comment) = self.comment.as_ref().filter(|_| form == Form::Whole) {
            element = element.bytes(6, &as_comment(comment));
        }
        element
    }

    fn read(set: &'static str, element: &[u8]) -> Option<Self> {
        let plain = |kind| attributes(element).find(|(found, _)| *found == kind).map(|(_, value)| value);
        let (_, key) = attributes(plain(1)?).find(|(found, _)| *found == 1)?;
        let left = plain(5).and_then(|left| left.first_chunk()).map(|left| u64::from_be_bytes(*left));
        let comment = plain(6).and_then(from_comment);
        Some(Self { set, key: key.to_vec(), end: None, life: left.map(Duration::from_millis), comment })
    }
}

fn key_of(key: &[u8]) -> Attributes {
    Attributes::new().nest(1, &Attributes::new().bytes(1, key))
}

/// The key that follows in the order of bytes, in which the kernel keeps ranges. Each lies within its interface, so it does not
/// matter what order these have.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    for byte in key.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    key
}

/// Ranges from their borders, which come in any order.
fn paired(set: &'static str, mut borders: Vec<(Vec<u8>, bool)>) -> Vec<Entry> {
    // Where one range ends and the next begins, the end comes first.
    borders.sort_unstable_by(|(key, is_end), (other, is_other_end)| key.cmp(other).then(is_other_end.cmp(is_end)));
    let mut began = None;
    let pair = |(key, is_end): (Vec<u8>, bool)| {
        if !is_end {
            began = Some(key);
            return None;
        }
        began.take().map(|first| Entry { set, key: first, end: Some(key), life: None, comment: None })
    };
    borders.into_iter().filter_map(pair).collect()
}

/// Whether an element of a dump is the end of a range.
fn is_end(element: &[u8]) -> bool {
    let flags = attributes(element).find(|(kind, _)| *kind == 3).and_then(|(_, flags)| flags.first_chunk().copied());
    flags.is_some_and(|flags| u32::from_be_bytes(flags) & END != 0)
}

/// In the form in which `nft` writes comments: a kind, a length, and a text with a zero byte at its end.
fn as_comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[0, length], text.as_bytes(), &[0]].concat()
}

fn from_comment(bytes: &[u8]) -> Option<String> {
    let [0, length, text @ ..] = bytes else { return None };
    let text = text.get(..usize::from(*length).checked_sub(1)?)?;
    String::from_utf8(text.to_vec()).ok()
}

impl PolicySet {
    /// What a key is made of, for those who print it: an interface, and an address of IPv4 or IPv6. Ranges of such are bytes for
    /// `nft`, which knows them only in sets of another make.
    fn key_type(&self) -> u32 {
        const INTERFACE: u32 = 20;
        const HEX: u32 = 6;
        match self.family {
            _ if self.kind == Kind::Ranges => HEX,
            None => INTERFACE,
            Some(Family::V4) => INTERFACE << 6 | 7,
            Some(Family::V6) => INTERFACE << 6 | 8,
        }
    }

    pub(super) fn make(&self, table: &str, number: u32) -> Message {
        let flags = match self.kind {
            Kind::Single => 0x20,
            Kind::Timed => 0x20 | TIMEOUT,
            Kind::Ranges => INTERVAL,
        };
        let rest = self.family.map_or(0, |family| family.length() as u32);
        let mut made = Attributes::new()
            .text(1, table)
            .text(2, self.name)
            .number(3, flags)
            .number(4, self.key_type())
            .number(5, 4 + rest)
            .number(10, number);
        if self.kind == Kind::Single {
            made = made.nest(17, &expression::counter().encode());
        }
        message(&format!("NFT_MSG_NEWSET({})", self.name), NEWSET, CREATE, &made)
    }
}

impl Table {
    /// Takes some elements away and puts others in, in one step; `members` are let through from then on. Those to be taken away
    /// need not be there. Reads back that the new ones are.
    pub fn exchange(&self, remove: &[Entry], add: &[Entry], members: &[Member]) -> Result<(), CannotFilter> {
        // An element that is missing would fail the whole batch, so each is added first.
        let mut messages = self.entries(NEWSETELEM, remove, Form::Bare);
        messages.extend(self.entries(DELSETELEM, remove, Form::Bare));
        messages.extend(self.entries(NEWSETELEM, add, Form::Whole));
        messages.extend(self.addition(members)?);
        transact(Protocol::Netfilter, &batch(messages))?;
        for asked in self.entries(GETSETELEM, add, Form::Asked) {
            self.expect(asked)?;
        }
        members.iter().try_for_each(|member| self.check(member))
    }

    /// Takes away what there is of a sandbox, in one step. None of it need be there.
    pub fn give_up(&self, member: &Member, entries: &[Entry]) -> Result<(), NetlinkError> {
        let mut messages = self.removal(std::slice::from_ref(member))?;
        messages.extend(self.entries(NEWSETELEM, entries, Form::Bare));
        messages.extend(self.entries(DELSETELEM, entries, Form::Bare));
        transact(Protocol::Netfilter, &batch(messages))
    }

    /// Every element of the sets for policies.
    pub fn policy_entries(&self) -> Result<Vec<Entry>, NetlinkError> {
        let mut all = Vec::new();
        for set in policy_sets() {
            let which = Attributes::new().text(1, &self.name).text(2, set.name);
            let bodies = dump(Protocol::Netfilter, &message("NFT_MSG_GETSETELEM", GETSETELEM, 0, &which))?;
            let lists = bodies.iter().flat_map(|body| attributes(body.get(4..).unwrap_or_default()));
            let elements = lists.filter(|(kind, _)| *kind == 3).flat_map(|(_, list)| attributes(list));
            let read = elements.filter_map(|(_, element)| Some((Entry::read(set.name, element)?, is_end(element))));
            match set.kind {
                Kind::Ranges => all.extend(paired(set.name, read.map(|(entry, is_end)| (entry.key, is_end)).collect())),
                Kind::Single | Kind::Timed => all.extend(read.map(|(entry, _)| entry)),
            }
        }
        Ok(all)
    }

    fn entries(&self, kind: u16, entries: &[Entry], form: Form) -> Vec<Message> {
        let flags = if kind == NEWSETELEM { CREATE } else { 0 };
        let of_one_set = entries.chunk_by(|one, other| one.set == other.set);
        let parts = of_one_set.flat_map(|entries| entries.chunks(AT_ONCE));
        let one = |entries: &[Entry]| {
            let set = entries.first().map_or("", |entry| entry.set);
            let list = entries.iter().fold(Attributes::new(), |list, entry| entry.put(list, form));
            let which = Attributes::new().text(1, &self.name).text(2, set).nest(3, &list);
            message(&format!("element of {set}"), kind, flags, &which)
        };
        parts.map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nft::on_trial::with_table;

    #[test]
    fn comments_are_those_of_nft() {
        assert_eq!(as_comment("a.b"), [0, 4, b'a', b'.', b'b', 0]);
        assert_eq!(from_comment(&as_comment("a.b")).as_deref(), Some("a.b"));
        for broken in [&[][..], &[0], &[1, 2, b'a', 0], &[0, 9, b'a', 0], &[0, 0]] {
            assert_eq!(from_comment(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn an_element_comes_out_as_it_went_in() {
        let address = "2001:db8::1".parse().expect("an address");
        let learned = Entry::learned(7, address, Duration::from_secs(60), "example.com");
        let told = learned.encode(Form::Whole);
        let read = Entry::read(learned.set, told.as_bytes()).expect("an element");
        // The kernel tells what is left, and not what it was given.
        assert_eq!(Entry { life: learned.life, ..read.clone() }, learned);
        assert_eq!((read.link(), read.address(), read.life), (Some(7), Some(address), None));
    }

    #[test]
    fn ranges_come_out_of_their_borders() {
        let range = |link, first, last| Entry::range("denied4", link, Family::V4, Range { first, last });
        let mut all = vec![range(7, 1, 9), range(7, 10, 10), range(7, 20, u32::MAX.into()), range(1 << 24, 0, 5)];
        all.sort();
        let borders = |entry: &Entry| [(entry.key.clone(), false), (entry.end.clone().expect("an end"), true)];
        let mut mixed: Vec<_> = all.iter().flat_map(borders).collect();
        mixed.reverse();
        let mut found = paired("denied4", mixed);
        found.sort();
        assert_eq!(found, all);
        assert_eq!(paired("denied4", vec![(vec![1], true), (vec![2], false)]), []);
    }

    fn kept(table: &Table) -> Vec<Entry> {
        let mut all = table.policy_entries().expect("listed");
        all.sort();
        all
    }

    #[test]
    fn the_kernel_keeps_what_it_is_given_and_gives_it_up() {
        with_table(|table, _| {
            let range = |set, first, last| Entry::range(set, 3, Family::V4, Range { first, last });
            let mut first = vec![
                Entry::policed(3, "policy one"),
                Entry::allowing(3),
                range("denied4", 10, 20),
                range("denied4", 30, 30),
                Entry::range("allowed6", 4, Family::V6, Range { first: 1, last: u128::MAX }),
            ];
            first.sort();
            table.exchange(&[], &first, &[]).expect("put in");
            assert_eq!(kept(table), first);
            table.exchange(&[], &first, &[]).expect("there already");
            // Another word, and ranges that lie over those that go, in the same step; one that is not there does not matter.
            let mut second = vec![Entry::policed(3, "policy two"), range("denied4", 15, 40)];
            second.sort();
            let mut gone = [first.clone(), vec![range("allowed4", 1, 2), Entry::allowing(9)]].concat();
            gone.sort();
            table.exchange(&gone, &second, &[]).expect("exchanged");
            assert_eq!(kept(table), second);
            table.exchange(&second, &[], &[]).expect("removed");
            assert_eq!(kept(table), []);
        });
    }

    #[test]
    fn an_address_that_is_learned_again_lives_longer() {
        with_table(|table, _| {
            let learned = |seconds, name| {
                Entry::learned(3, "93.184.216.34".parse().expect("one"), Duration::from_secs(seconds), name)
            };
            let look = |table: &Table| {
                let all = kept(table);
                let [entry] = &all[..] else { panic!("{all:?}") };
                (entry.life.expect("a life").as_secs(), entry.comment.clone().unwrap_or_default(), entry.address())
            };
            let address = learned(1, "").address();
            table.exchange(&[], &[learned(100, "a.example")], &[]).expect("put in");
            let (life, name, found) = look(table);
            assert!((90..=100).contains(&life), "{life}");
            assert_eq!((name.as_str(), found), ("a.example", address));
            let longer = [learned(1000, "b.example")];
            table.exchange(&longer, &longer, &[]).expect("again");
            let (life, name, _) = look(table);
            assert!((990..=1000).contains(&life), "{life}");
            assert_eq!(name, "b.example");
        });
    }
}
