//! What the operator decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::nft::Sandboxes;
use crate::model::NetworkBounds;

const POOL_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 211, 0, 0), 16);
const POOL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfdb1, 0x7000, 0x211, 0, 0, 0, 0, 0), 64);

/// What sandboxes are to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Loopback alone; the rest is about sandboxes that have a network of an earlier daemon.
    Loopback(NetworkConfig),
    /// A network, or there is no daemon.
    Bridge(NetworkConfig),
    /// A network where this host can have it as it is, and loopback alone where not.
    Auto(NetworkConfig),
}

impl Wanted {
    /// What a request for a sandbox may not go beyond.
    #[must_use]
    pub fn bounds(&self) -> NetworkBounds {
        match self {
            Self::Loopback(_) => NetworkBounds::default(),
            Self::Bridge(config) | Self::Auto(config) => {
                NetworkBounds { connections: config.connections, bandwidth: config.bandwidth }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// What this daemon's table is called, and what its interfaces are known by: another daemon has another name.
    pub name: String,
    pub pool_v4: Ipv4Net,
    /// Without one, sandboxes have no IPv6.
    pub pool_v6: Option<Ipv6Net>,
    /// Ranges that sandboxes reach although they are not of the public Internet.
    pub open: Vec<IpNet>,
    /// Whom to ask for names; empty is whom the host asks.
    pub resolvers: Vec<IpAddr>,
    /// Whether the daemon may switch forwarding on where it is off.
    pub enable_forwarding: bool,
    /// How many connections a sandbox has at once, and at most; `None` is no bound.
    pub connections: Option<u32>,
    /// Bytes a second that a sandbox sends, and at most.
    pub bandwidth: Option<u64>,
}

impl NetworkConfig {
    /// Where nothing is decided.
    #[must_use]
    pub fn usual(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pool_v4: POOL_V4,
            pool_v6: Some(POOL_V6),
            open: Vec::new(),
            resolvers: Vec::new(),
            enable_forwarding: true,
            connections: Some(usual_connections()),
            bandwidth: None,
        }
    }

    /// What the packet filter is to know of it; `group` is that of the links.
    pub(super) fn sandboxes(&self, group: u32) -> Sandboxes {
        Sandboxes {
            group,
            pool_v4: self.pool_v4,
            pool_v6: self.pool_v6,
            open: self.open.clone(),
            connections: self.connections.unwrap_or(u32::MAX),
        }
    }
}

/// The connections of a sandbox where nothing else is decided: a 64th of what the host can keep track of, so that a few dozen
/// cannot take what all others need, and not more than any program should have.
fn usual_connections() -> u32 {
    let all = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
    part_of(all.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(65_536))
}

fn part_of(all: u32) -> u32 {
    (all / 64).clamp(256, 4096)
}

/// A pool that is large enough for a gateway and sandboxes, and that holds only addresses for private use.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_pool(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| format!("{text:?} is no network; write it as 10.211.0.0/16"))?;
    let free = net.max_prefix_len() - net.prefix_len();
    let private = match net {
        IpNet::V4(net) => net.network().is_private() && net.broadcast().is_private(),
        IpNet::V6(net) => net.network().is_unique_local(),
    };
    match net {
        _ if net.network() != net.addr() => Err(format!("{text:?} has bits behind its prefix; write {}", net.trunc())),
        _ if !private => Err(format!("{text:?} is not for private use; take one of 10.0.0.0/8 or fd00::/8")),
        IpNet::V4(_) if !(3..=20).contains(&free) => Err(format!("{text:?} must be between a /12 and a /29")),
        IpNet::V6(_) if free < 32 => Err(format!("{text:?} must be a /96 or larger")),
        net => Ok(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_has_a_small_part_of_the_hosts_connections() {
        assert_eq!([16_384, 65_536, 262_144, 4_000_000].map(part_of), [256, 1024, 4096, 4096]);
    }

    #[test]
    fn a_pool_is_private_and_of_a_fitting_size() {
        for good in ["10.211.0.0/16", "192.168.9.0/24", "172.16.0.0/12", "fd00:1::/64"] {
            assert!(parse_pool(good).is_ok(), "{good}");
        }
        for bad in ["10.211.0.1/16", "8.8.8.0/24", "10.0.0.0/8", "10.0.0.0/30", "fe80::/64", "fd00::/112", "x", ""] {
            assert!(parse_pool(bad).is_err(), "{bad}");
        }
    }
}
