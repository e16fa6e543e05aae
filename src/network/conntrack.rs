//! The connections that the kernel tracks: which a sandbox has, and how they are forgotten.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::errno::Errno;

use super::netlink::{Attributes, Message, NetlinkError, Protocol, attributes, dump, transact};

const CTNETLINK: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// `CTA_FILTER_F_CTA_IP_SRC`
const BY_SOURCE: u32 = 1;
/// `CTA_FILTER_F_CTA_IP_DST`
const BY_DESTINATION: u32 = 2;

/// Forgets every connection that the address began, and every one that was made to it (Linux 5.8).
pub fn forget(address: IpAddr) -> Result<(), NetlinkError> {
    // Whoever answered as this address is the source of the replies.
    for (tuple, flags) in [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)] {
        transact(Protocol::Netfilter, &[request(address, tuple, flags)])?;
    }
    Ok(())
}

/// Forgets the connections of this address to all those that `passes` does not name; those to others go on as they did. Where they
/// cannot be told apart, all are forgotten: what is allowed is taken up again by the next packet.
pub fn forget_unless(address: IpAddr, passes: &dyn Fn(IpAddr) -> bool) -> Result<(), NetlinkError> {
    let cut = reached_by(address).and_then(|reached| {
        let mut forbidden = reached.into_iter().filter(|to| !passes(*to));
        forbidden.try_for_each(|to| forget_between(address, to))
    });
    cut.or_else(|error| {
        tracing::warn!(%error, %address, "the connections that a policy forbids could not be found");
        forget(address)
    })
}

/// The addresses to which this one has connections of its own.
fn reached_by(address: IpAddr) -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let bodies = dump(Protocol::Netfilter, &about(GET, "IPCTNL_MSG_CT_GET", address, None))?;
    Ok(bodies.iter().filter_map(|body| destination(body)).collect())
}

/// Forgets every connection that one address began to another.
fn forget_between(address: IpAddr, to: IpAddr) -> Result<(), NetlinkError> {
    match transact(Protocol::Netfilter, &[about(DELETE, "IPCTNL_MSG_CT_DELETE", address, Some(to))]) {
        // They ended by themselves.
        Err(NetlinkError { errno: Errno::ENOENT, .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

fn request(address: IpAddr, tuple: u16, flags: u16) -> Message {
    let (family, source) = ends(address, None);
    let filter = Attributes::new().native(flags, BY_SOURCE);
    let which = Attributes::new().nest(tuple, &Attributes::new().nest(CTA_TUPLE_IP, &source)).nest(CTA_FILTER, &filter);
    let what = format!("IPCTNL_MSG_CT_DELETE({address})");
    Message::new(what, CTNETLINK << 8 | DELETE, 0, &[family, 0, 0, 0], &which)
}

/// About the connections that one address began, to all others or to one.
fn about(kind: u16, what: &str, address: IpAddr, to: Option<IpAddr>) -> Message {
    let (family, ends) = ends(address, to);
    let by = BY_SOURCE | if to.is_some() { BY_DESTINATION } else { 0 };
    let filter = Attributes::new().native(CTA_FILTER_ORIG_FLAGS, by);
    let tuple = Attributes::new().nest(CTA_TUPLE_IP, &ends);
    let which = Attributes::new().nest(CTA_TUPLE_ORIG, &tuple).nest(CTA_FILTER, &filter);
    Message::new(format!("{what}({address})"), CTNETLINK << 8 | kind, 0, &[family, 0, 0, 0], &which)
}

/// The family, and source and destination as attributes of it.
fn ends(source: IpAddr, destination: Option<IpAddr>) -> (u8, Attributes) {
    let (family, first) = if source.is_ipv4() { (libc::AF_INET, 1) } else { (libc::AF_INET6, 3) };
    let put = |list: Attributes, kind, address| match address {
        IpAddr::V4(address) => list.bytes(kind, &address.octets()),
        IpAddr::V6(address) => list.bytes(kind, &address.octets()),
    };
    let list = put(Attributes::new(), first, source);
    (family as u8, destination.map_or(list.clone(), |to| put(list, first + 1, to)))
}

/// Where the connection of a dump's message went to.
fn destination(body: &[u8]) -> Option<IpAddr> {
    let find = |within: &'_ [u8], wanted| {
        attributes(within).find(|(kind, _)| *kind == wanted).map(|(_, value)| value.to_vec())
    };
    let ends = find(&find(body.get(4..)?, CTA_TUPLE_ORIG)?, CTA_TUPLE_IP)?;
    let v4 = find(&ends, 2).and_then(|bytes| Some(IpAddr::from(*bytes.first_chunk::<4>()?)));
    v4.or_else(|| Some(IpAddr::from(*find(&ends, 4)?.first_chunk::<16>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_from_a_connection() {
        for (from, to) in [("10.0.0.1", "1.2.3.4"), ("fd00::1", "2001:db8::1")] {
            let (from, to) = (from.parse().expect("an address"), to.parse().expect("an address"));
            let (_, ends) = ends(from, Some(to));
            let tuple = Attributes::new().nest(CTA_TUPLE_ORIG, &Attributes::new().nest(CTA_TUPLE_IP, &ends));
            let body = [&[0; 4][..], tuple.as_bytes()].concat();
            assert_eq!(destination(&body), Some(to));
        }
        assert_eq!(destination(&[0; 3]), None);
        assert_eq!(destination(&[0, 0, 0, 0, 9, 0, 1, 0]), None);
    }
}
