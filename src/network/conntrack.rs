//! The connections that the kernel tracks: which a sandbox has, and how they are forgotten.

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
const CTA_ZONE: u16 = 18;
/// `CTA_IP_V4_SRC` and `CTA_IP_V6_SRC`; the number of the destination is the next one.
const V4_SOURCE: u16 = 1;
const V6_SOURCE: u16 = 3;

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

/// Forgets every connection that the address began, and every one that was made to it (Linux 5.8).
pub fn forget(address: IpAddr) -> Result<(), NetlinkError> {
    if address.is_ipv6() {
        return forget_those(address, |one| one.source == address || one.answerer == address);
    }
    // Whoever answered as this address is the source of the replies.
    for (tuple, flags) in [(CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS), (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS)] {
        transact(Protocol::Netfilter, &[request(address, tuple, flags)])?;
    }
    Ok(())
}

/// Forgets the connections of this address to all those that `passes` does not name; those to others go on as they did. Where they
/// cannot be told apart, all are forgotten: what is allowed is taken up again by the next packet.
pub fn forget_unless(address: IpAddr, passes: &dyn Fn(IpAddr) -> bool) -> Result<(), NetlinkError> {
    forget_those(address, |one| one.source == address && !passes(one.destination)).or_else(|error| {
        tracing::warn!(%error, %address, "the connections that a policy forbids could not be found");
        forget(address)
    })
}

/// Forgets those of the connections that the address began for which `which` holds; with IPv6, of all connections.
fn forget_those(address: IpAddr, which: impl Fn(&Connection) -> bool) -> Result<(), NetlinkError> {
    let bodies = dump(Protocol::Netfilter, &question(address))?;
    let mut connections = bodies.iter().filter_map(|body| Connection::read(body)).filter(which);
    connections.try_for_each(|one| match transact(Protocol::Netfilter, &[one.deletion()]) {
        // It ended by itself.
        Err(NetlinkError { errno: Errno::ENOENT, .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    })
}

/// What the kernel is asked for to find the connections that an address began. It compares addresses of IPv6 the wrong way round,
/// and names all others' where it is asked for one's (seen with Linux 6.18), so with these it is asked for all.
fn question(address: IpAddr) -> Message {
    let which =
        if address.is_ipv4() { by_source(address, CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS) } else { Attributes::new() };
    Message::new(format!("IPCTNL_MSG_CT_GET({address})"), CTNETLINK << 8 | GET, 0, &header(address), &which)
}

fn request(address: IpAddr, tuple: u16, flags: u16) -> Message {
    let what = format!("IPCTNL_MSG_CT_DELETE({address})");
    Message::new(what, CTNETLINK << 8 | DELETE, 0, &header(address), &by_source(address, tuple, flags))
}

fn header(address: IpAddr) -> [u8; 4] {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    [family as u8, 0, 0, 0]
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
        Message::new(what, CTNETLINK << 8 | DELETE, 0, &header(self.source), &which)
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
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_and_named_again() {
        let ends = |first: u16, source: &[u8], destination: &[u8]| {
            let ends = Attributes::new().bytes(first, source).bytes(first + 1, destination);
            Attributes::new().nest(CTA_TUPLE_IP, &ends).nest(2, &Attributes::new().bytes(1, &[17]))
        };
        for (first, source, destination, answerer) in
            [(V4_SOURCE, [1_u8; 16], [2; 16], [3; 16]), (V6_SOURCE, [4; 16], [5; 16], [6; 16])]
        {
            let length = if first == V4_SOURCE { 4 } else { 16 };
            let forth = ends(first, &source[..length], &destination[..length]);
            let back = ends(first, &answerer[..length], &source[..length]);
            let all =
                Attributes::new().nest(CTA_TUPLE_ORIG, &forth).nest(CTA_TUPLE_REPLY, &back).bytes(CTA_ZONE, &[0, 9]);
            let body = [&[0; 4][..], all.as_bytes()].concat();
            let address = |bytes: [u8; 16]| match first {
                V4_SOURCE => IpAddr::from([bytes[0]; 4]),
                _ => IpAddr::from(bytes),
            };
            let read = Connection::read(&body).expect("a connection");
            assert_eq!((read.source, read.destination), (address(source), address(destination)));
            assert_eq!(read.answerer, address(answerer));
            let named = Attributes::new().nest(CTA_TUPLE_ORIG, &forth).bytes(CTA_ZONE, &[0, 9]);
            let what = format!("IPCTNL_MSG_CT_DELETE({}, {})", read.source, read.destination);
            assert_eq!(read.deletion(), Message::new(what, CTNETLINK << 8 | DELETE, 0, &header(read.source), &named));
        }
        assert_eq!(Connection::read(&[0; 3]), None);
        assert_eq!(Connection::read(&[0, 0, 0, 0, 9, 0, 1, 0]), None);
    }
}
