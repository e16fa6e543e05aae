//! The connections that the kernel tracks: which a sandbox has, and how they are forgotten.

use std::collections::HashSet;
use std::net::IpAddr;

use nix::errno::Errno;

use super::netlink::{Attributes, Message, NetlinkError, Protocol, ask, attributes, dump, transact};

const CTNETLINK: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const GET_STATS: u16 = 5;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// `CTA_FILTER_F_CTA_IP_SRC`
const BY_SOURCE: u32 = 1;
const CTA_ZONE: u16 = 18;
/// `CTA_IP_V4_SRC` and `CTA_IP_V6_SRC`; the number of the destination is the next one.
const V4_SOURCE: u16 = 1;
const V6_SOURCE: u16 = 3;

/// To have the kernel look for each address costs less up to so many; with more, all connections are told and looked through here.
const FEW: usize = 4;

/// A connection that the kernel tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Connection {
    source: IpAddr,
    destination: IpAddr,
    /// Whoever answers; not the destination, where that is translated.
    answerer: IpAddr,
    /// By which the kernel knows it (`CTA_TUPLE_ORIG`, `CTA_ZONE`).
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
}

/// Forgets every connection that one of the addresses began, and every one that was made to it (Linux 5.8).
pub fn forget(addresses: &[IpAddr]) -> Result<(), NetlinkError> {
    // To look for one takes milliseconds, however few there are: the table is large where the host has much memory.
    if addresses.is_empty() || count()? == 0 {
        return Ok(());
    }
    let (one_by_one, together): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() && addresses.len() <= FEW);
    one_by_one.into_iter().try_for_each(forget_one)?;
    let gone: HashSet<IpAddr> = together.into_iter().collect();
    let is_gone = |one: &Connection| gone.contains(&one.source) || gone.contains(&one.answerer);
    let of_v4 = gone.iter().filter(|address| address.is_ipv4()).count();
    // Of both it is one way through the table.
    let family = match gone.len() {
        0 => return Ok(()),
        all if all == of_v4 => libc::AF_INET,
        _ if of_v4 == 0 => libc::AF_INET6,
        _ => libc::AF_UNSPEC,
    };
    forget_those(&question(family, &Attributes::new()), is_gone)
}

/// For an address of IPv4.
fn forget_one(address: IpAddr) -> Result<(), NetlinkError> {
    // Whoever answered as this address is the source of the replies.
    for (tuple, flags) in [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)] {
        transact(Protocol::Netfilter, &[request(address, tuple, flags)])?;
    }
    Ok(())
}

/// How many connections there are in all.
fn count() -> Result<u32, NetlinkError> {
    let asked = message("IPCTNL_MSG_CT_GET_STATS".to_owned(), GET_STATS, libc::AF_UNSPEC, &Attributes::new());
    let told = ask(Protocol::Netfilter, &[asked])?;
    let read =
        |body: &Vec<u8>| Some(u32::from_be_bytes(*find(body.get(4..)?, CTA_STATS_GLOBAL_ENTRIES)?.first_chunk()?));
    // Where it is not told there may be some.
    Ok(told.iter().find_map(read).unwrap_or(u32::MAX))
}

/// Forgets the connections that these addresses began, each as a source, to all those that `passes` does not name for it; the
/// others go on as they did. Where they cannot be told apart, all are forgotten: what is allowed is taken up again by the next
/// packet.
pub fn forget_unless(sources: &[IpAddr], passes: &dyn Fn(IpAddr, IpAddr) -> bool) -> Result<(), NetlinkError> {
    if sources.is_empty() || count()? == 0 {
        return Ok(());
    }
    let is_forbidden = |one: &Connection| sources.contains(&one.source) && !passes(one.source, one.destination);
    let mut families = [libc::AF_INET, libc::AF_INET6].into_iter();
    let ended = families.try_for_each(|family| {
        let mut of_family = sources.iter().filter(|address| self::family(**address) == family);
        match (of_family.next(), of_family.next()) {
            (None, _) => Ok(()),
            // The kernel compares addresses of IPv6 the wrong way round, and names all others' where it is asked for one's (seen
            // with Linux 6.18), so with these it is asked for all.
            (Some(only), None) if only.is_ipv4() => {
                let which = by_source(*only, CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS);
                forget_those(&question(family, &which), is_forbidden)
            }
            _ => forget_those(&question(family, &Attributes::new()), is_forbidden),
        }
    });
    ended.or_else(|error| {
        tracing::warn!(%error, ?sources, "the connections that a policy forbids could not be found");
        forget(sources)
    })
}

/// Forgets those of the connections that the question is about for which `which` holds.
fn forget_those(question: &Message, which: impl Fn(&Connection) -> bool) -> Result<(), NetlinkError> {
    let bodies = dump(Protocol::Netfilter, question)?;
    let mut connections = bodies.iter().filter_map(|body| Connection::read(body)).filter(which);
    connections.try_for_each(|one| match transact(Protocol::Netfilter, &[one.deletion()]) {
        // It ended by itself.
        Err(NetlinkError { errno: Errno::ENOENT, .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    })
}

/// What the kernel is asked for to find connections of a family.
fn question(family: libc::c_int, which: &Attributes) -> Message {
    message(format!("IPCTNL_MSG_CT_GET({family})"), GET, family, which)
}

fn request(address: IpAddr, tuple: u16, flags: u16) -> Message {
    let which = by_source(address, tuple, flags);
    message(format!("IPCTNL_MSG_CT_DELETE({address})"), DELETE, family(address), &which)
}

fn message(what: String, kind: u16, family: libc::c_int, attributes: &Attributes) -> Message {
    // struct nfgenmsg
    Message::new(what, CTNETLINK << 8 | kind, 0, &[family as u8, 0, 0, 0], attributes)
}

fn family(address: IpAddr) -> libc::c_int {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn by_source(address: IpAddr, tuple: u16, flags: u16) -> Attributes {
    let source = match address {
        IpAddr::V4(address) => Attributes::new().bytes(V4_SOURCE, &address.octets()),
        IpAddr::V6(address) => Attributes::new().bytes(V6_SOURCE, &address.octets()),
    };
    let filter = Attributes::new().native(flags, BY_SOURCE);
    Attributes::new().nest(tuple, &Attributes::new().nest(CTA_TUPLE_IP, &source)).nest(CTA_FILTER, &filter)
}

impl Connection {
    /// From a dump's message.
    fn read(body: &[u8]) -> Option<Self> {
        let body = body.get(4..)?;
        let tuple = find(body, CTA_TUPLE_ORIG)?;
        let (source, destination) = ends(tuple)?;
        let (answerer, _) = ends(find(body, CTA_TUPLE_REPLY)?)?;
        let zone = find(body, CTA_ZONE).map(<[u8]>::to_vec);
        Some(Self { source, destination, answerer, tuple: tuple.to_vec(), zone })
    }

    fn deletion(&self) -> Message {
        let which = Attributes::new().nest(CTA_TUPLE_ORIG, &Attributes::read(&self.tuple));
        let which = self.zone.iter().fold(which, |which, zone| which.bytes(CTA_ZONE, zone));
        let what = format!("IPCTNL_MSG_CT_DELETE({}, {})", self.source, self.destination);
        message(what, DELETE, family(self.source), &which)
    }
}

fn find(within: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(within).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// Source and destination of a tuple.
fn ends(tuple: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let ends = find(tuple, CTA_TUPLE_IP)?;
    let v4 = |kind| Some(IpAddr::from(*find(ends, kind)?.first_chunk::<4>()?));
    let v6 = |kind| Some(IpAddr::from(*find(ends, kind)?.first_chunk::<16>()?));
    Some((v4(V4_SOURCE).or_else(|| v6(V6_SOURCE))?, v4(V4_SOURCE + 1).or_else(|| v6(V6_SOURCE + 1))?))
}

#[cfg(test)]
mod tests;
