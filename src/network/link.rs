//! Links, addresses and routes (`rtnetlink(7)`), as requests and what comes back of them.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::netlink::{Attributes, CREATE, EXCLUSIVE, Message, NetlinkError, Protocol, REPLACE, attributes, dump};

/// Of both ends of every pair. Neither end ever asks for the other's.
const HARDWARE_ADDRESS: [u8; 6] = [0x02, 0x62, 0x69, 0x76, 0x6f, 0x75];

const IFLA_GROUP: u16 = 27;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const NO_LINK_LOCAL: u8 = 1;
const VETH_INFO_PEER: u16 = 1;
const IFA_F_NODAD: u32 = 2;
/// `RTNH_F_ONLINK`: no other route has to lead to the gateway.
const ONLINK: u32 = 4;

/// A link of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub alias: String,
}

/// The pair: one end here, in the group of all such links, the other with its final name in the namespace. Both are down.
///
/// Each has one queue each way. Without a word the kernel makes one for every processor and takes all but the first away again,
/// which waits for every processor to leave what it is at, twice for a pair, while nobody else changes a link.
pub fn make_pair(name: &str, group: u32, peer: &str, namespace: BorrowedFd<'_>) -> Message {
    let end = |name| {
        Attributes::new()
            .text(libc::IFLA_IFNAME, name)
            .bytes(libc::IFLA_ADDRESS, &HARDWARE_ADDRESS)
            .native(IFLA_NUM_TX_QUEUES, 1)
            .native(IFLA_NUM_RX_QUEUES, 1)
    };
    let other = end(peer).native(libc::IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
    let data = Attributes::new().nest_after(VETH_INFO_PEER, &link_header(0, 0), &other);
    let info = Attributes::new().text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, &data);
    let pair = end(name).native(IFLA_GROUP, group).nest(libc::IFLA_LINKINFO, &info);
    let flags = CREATE | EXCLUSIVE;
    Message::new(format!("RTM_NEWLINK({name})"), libc::RTM_NEWLINK, flags, &link_header(0, 0), &pair)
}

/// Brings an end of a pair up: no ARP, no address but those that it is given.
pub fn bring_up(name: &str, alias: Option<&str>) -> Message {
    let v6 = Attributes::new().bytes(IFLA_INET6_ADDR_GEN_MODE, &[NO_LINK_LOCAL]);
    let families = Attributes::new().nest(libc::AF_INET6 as u16, &v6);
    let mut change = Attributes::new().text(libc::IFLA_IFNAME, name).nest(libc::IFLA_AF_SPEC, &families);
    if let Some(alias) = alias {
        change = change.text(libc::IFLA_IFALIAS, alias);
    }
    let header = link_header(0, (libc::IFF_UP | libc::IFF_NOARP).cast_unsigned());
    Message::new(format!("RTM_SETLINK({name}, up)"), libc::RTM_SETLINK, 0, &header, &change)
}

/// A link of the host that carries addresses and nothing else.
pub fn make_anchor(name: &str) -> Message {
    let info = Attributes::new().text(libc::IFLA_INFO_KIND, "bridge");
    let anchor = Attributes::new().text(libc::IFLA_IFNAME, name).nest(libc::IFLA_LINKINFO, &info);
    let header = link_header(0, libc::IFF_UP.cast_unsigned());
    Message::new(format!("RTM_NEWLINK({name})"), libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &header, &anchor)
}

pub fn delete(name: &str) -> Message {
    let which = Attributes::new().text(libc::IFLA_IFNAME, name);
    Message::new(format!("RTM_DELLINK({name})"), libc::RTM_DELLINK, 0, &link_header(0, 0), &which)
}

pub fn add_address(index: u32, address: IpAddr) -> Message {
    // struct ifaddrmsg
    let mut header = vec![family(address), bits(address), 0, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    let octets = octets(address);
    let attributes = Attributes::new()
        .bytes(libc::IFA_LOCAL, &octets)
        .bytes(libc::IFA_ADDRESS, &octets)
        .native(libc::IFA_FLAGS, IFA_F_NODAD);
    Message::new(format!("RTM_NEWADDR({address})"), libc::RTM_NEWADDR, CREATE | REPLACE, &header, &attributes)
}

/// To exactly this address over the link.
pub fn add_route_to(index: u32, address: IpAddr) -> Message {
    let header = route_header(address, bits(address), libc::RT_SCOPE_LINK, 0);
    let attributes = Attributes::new().bytes(libc::RTA_DST, &octets(address)).native(libc::RTA_OIF, index);
    Message::new(format!("RTM_NEWROUTE({address})"), libc::RTM_NEWROUTE, CREATE | REPLACE, &header, &attributes)
}

/// Everything over the link to the gateway, which no other route leads to.
pub fn add_default_route(index: u32, gateway: IpAddr) -> Message {
    let header = route_header(gateway, 0, libc::RT_SCOPE_UNIVERSE, ONLINK);
    let attributes = Attributes::new().bytes(libc::RTA_GATEWAY, &octets(gateway)).native(libc::RTA_OIF, index);
    Message::new(format!("RTM_NEWROUTE(default via {gateway})"), libc::RTM_NEWROUTE, CREATE, &header, &attributes)
}

/// The links of a group.
pub fn of_group(group: u32) -> Result<Vec<Link>, NetlinkError> {
    let links = dump(
        Protocol::Route,
        &Message::new("RTM_GETLINK", libc::RTM_GETLINK, 0, &link_header(0, 0), &Attributes::new()),
    )?;
    Ok(links.iter().filter_map(|body| read(body, group)).collect())
}

/// The addresses that routes of the host lead to, each with its link. Only those of a single address.
pub fn routes(family: libc::c_int) -> Result<Vec<(IpAddr, u8)>, NetlinkError> {
    let mut header = [0; 12];
    header[0] = family as u8;
    let request = Message::new("RTM_GETROUTE", libc::RTM_GETROUTE, 0, &header, &Attributes::new());
    Ok(dump(Protocol::Route, &request)?.iter().filter_map(|body| read_route(body)).collect())
}

fn read(body: &[u8], group: u32) -> Option<Link> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let (mut name, mut alias, mut found) = (String::new(), String::new(), 0);
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => name = text(value),
            libc::IFLA_IFALIAS => alias = text(value),
            IFLA_GROUP => found = value.first_chunk().map_or(0, |value| u32::from_ne_bytes(*value)),
            _ => {}
        }
    }
    (found == group).then_some(Link { index, name, alias })
}

fn read_route(body: &[u8]) -> Option<(IpAddr, u8)> {
    let length = *body.get(1)?;
    let (_, to) = attributes(body.get(12..)?).find(|(kind, _)| *kind == libc::RTA_DST)?;
    let address = match *body.first()? as libc::c_int {
        libc::AF_INET => IpAddr::from(*to.first_chunk::<4>()?),
        _ => IpAddr::from(*to.first_chunk::<16>()?),
    };
    Some((address, length))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// `struct ifinfomsg`; `flags` are set, and nothing else of them is changed.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// `struct rtmsg`
fn route_header(address: IpAddr, length: u8, scope: u8, flags: u32) -> [u8; 12] {
    let mut header =
        [family(address), length, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, scope, libc::RTN_UNICAST, 0, 0, 0, 0];
    header[8..].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
