//! What belongs to one sandbox: elements of sets, as keys in their form on the wire.

use std::net::IpAddr;

use crate::model::Traffic;
use crate::network::netlink::attributes;

/// A sandbox as the packet filter knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The number of its interface on the host.
    pub link: u32,
    pub addresses: Vec<IpAddr>,
    /// How many connections it may have at once.
    pub connections: u32,
    /// The number of the network that it shares with others.
    pub network: Option<u32>,
}

/// An element, as it is in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<u8>,
    /// What a map has for the key; empty in a set.
    pub value: Vec<u8>,
    /// The first key behind a range.
    pub ends: bool,
    /// What its counter says, where it has one.
    pub counted: Traffic,
}

/// Interface and address.
#[must_use]
pub fn key(link: u32, address: IpAddr) -> Vec<u8> {
    let mut key = link.to_ne_bytes().to_vec();
    match address {
        IpAddr::V4(address) => key.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => key.extend_from_slice(&address.octets()),
    }
    key
}

/// The interface of such a key.
#[must_use]
pub fn link_of(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|link| u32::from_ne_bytes(*link))
}

/// The elements in one message of a dump.
pub fn read(body: &[u8]) -> Vec<Element> {
    let list = body.get(4..).unwrap_or_default();
    let lists = attributes(list).filter(|(kind, _)| *kind == 3);
    lists.flat_map(|(_, list)| attributes(list)).filter_map(|(_, element)| read_one(element)).collect()
}

fn read_one(element: &[u8]) -> Option<Element> {
    let plain = |wanted| attributes(element).find(|(kind, _)| *kind == wanted).and_then(|(_, data)| bytes(data));
    let key = plain(1)?;
    let value = plain(2).unwrap_or_default();
    // `NFTA_SET_ELEM_FLAGS`, of which there is one.
    let ends = attributes(element).any(|(kind, flags)| kind == 3 && flags.last() == Some(&1));
    let attached = attributes(element).find(|(kind, _)| *kind == 7);
    let counted = attached.and_then(|(_, one)| counter(one)).unwrap_or_default();
    Some(Element { key: key.to_vec(), value: value.to_vec(), ends, counted })
}

/// The bytes of a key or a value.
fn bytes(data: &[u8]) -> Option<&[u8]> {
    attributes(data).find(|(kind, _)| *kind == 1).map(|(_, bytes)| bytes)
}

/// The name of the set that a message of a dump is about.
pub fn set_of(body: &[u8]) -> Option<&[u8]> {
    let (_, name) = attributes(body.get(4..)?).find(|(kind, _)| *kind == 2)?;
    name.strip_suffix(&[0])
}

/// What a counter says; `None` for any other expression.
fn counter(expression: &[u8]) -> Option<Traffic> {
    let of = |list, wanted| attributes(list).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    if of(expression, 1)? != b"counter\0" {
        return None;
    }
    let number = |kind| of(of(expression, 2)?, kind)?.first_chunk().map(|value| u64::from_be_bytes(*value));
    Some(Traffic { bytes: number(1)?, packets: number(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_interface() {
        let key = key(7, "10.0.0.1".parse().expect("an address"));
        assert_eq!((key.len(), link_of(&key)), (8, Some(7)));
        assert_eq!(link_of(&[1]), None);
        assert_eq!(read(&[0, 0, 0, 0, 255, 255, 3, 0]), []);
    }
}
