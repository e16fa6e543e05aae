//! The networks that this host is connected to: whoever is in them is the host's neighbour, whatever its address.
//!
//! They are those that a route leads to without a gateway. The range of what is not public holds most of them; this is for public
//! addresses that are the host's own network, as IPv6 has them everywhere.

use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::{Attributes, Message, NetlinkError, Protocol, attributes, dump};

/// `RTA_VIA` and `RTA_NH_ID`: a gateway of the other family, and one that is kept in a table of its own.
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;

/// A wider route without a gateway is a way out (a tunnel that takes half of the Internet), and no network of neighbours.
const WIDEST: (u8, u8) = (8, 16);

/// Every network that the host is connected to, but for those within our own pools.
pub fn networks(pools: &[IpNet]) -> Result<Vec<IpNet>, NetlinkError> {
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut header = [0; 12];
        header[0] = family as u8;
        let request = Message::new("RTM_GETROUTE", libc::RTM_GETROUTE, 0, &header, &Attributes::new());
        all.extend(dump(Protocol::Route, &request)?.iter().filter_map(|body| neighbours(body)));
    }
    all.retain(|net| !pools.iter().any(|pool| pool.contains(net)));
    Ok(all)
}

/// The network that a route (`struct rtmsg` and its attributes) leads to, where it is one of neighbours.
pub fn neighbours(body: &[u8]) -> Option<IpNet> {
    let [family, length, _, _, _, _, _, kind] = *body.first_chunk()?;
    if kind != libc::RTN_UNICAST {
        return None;
    }
    let mut to = None;
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            libc::RTA_GATEWAY | libc::RTA_MULTIPATH | RTA_VIA | RTA_NH_ID => return None,
            libc::RTA_DST => to = Some(value),
            _ => {}
        }
    }
    let (address, widest) = match family.into() {
        libc::AF_INET => (IpAddr::from(*to?.first_chunk::<4>()?), WIDEST.0),
        libc::AF_INET6 => (IpAddr::from(*to?.first_chunk::<16>()?), WIDEST.1),
        _ => return None,
    };
    IpNet::new(address, length).ok().filter(|_| length >= widest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(family: i32, length: u8, kind: u8, to: &[u8], more: Option<(u16, &[u8])>) -> Vec<u8> {
        let mut body = vec![family as u8, length, 0, 0, 254, 2, 253, kind, 0, 0, 0, 0];
        for (kind, value) in [Some((libc::RTA_DST, to)), more].into_iter().flatten() {
            body.extend_from_slice(&u16::try_from(value.len() + 4).expect("short").to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
        }
        body
    }

    #[test]
    fn neighbours_are_reached_without_a_gateway() {
        let near = |route: Vec<u8>| neighbours(&route).map(|net| net.to_string());
        let (v4, v6) = (libc::AF_INET, libc::AF_INET6);
        let address: [u8; 16] = [0x2a, 2, 0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(near(route(v4, 24, 1, &[45, 8, 8, 0], None)).as_deref(), Some("45.8.8.0/24"));
        assert_eq!(near(route(v6, 64, 1, &address, None)).as_deref(), Some("2a02:9:9::/64"));
        for gateway in [libc::RTA_GATEWAY, libc::RTA_MULTIPATH, RTA_VIA, RTA_NH_ID] {
            assert_eq!(near(route(v4, 24, 1, &[45, 8, 8, 0], Some((gateway, &[45, 8, 8, 1])))), None);
        }
        // A tunnel for all, a route to the host itself, and rubbish.
        assert_eq!(near(route(v4, 1, 1, &[0, 0, 0, 0], None)), None);
        assert_eq!(near(route(v4, 32, 2, &[45, 8, 8, 1], None)), None);
        assert_eq!(near(route(v4, 33, 1, &[45, 8, 8, 1], None)), None);
        assert_eq!(near(vec![2, 24, 0]), None);
        assert_eq!(near(route(v4, 24, 1, &[45, 8], None)), None);
    }
}
