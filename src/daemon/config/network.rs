//! `[network]`: what sandboxes reach, and with which addresses.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::reader::Reader;
use crate::model::{LEAST_BANDWIDTH, parse_memory};
use crate::network::{NetworkConfig, Wanted, parse_pool};

#[derive(Debug, Clone, Copy, Default)]
enum Mode {
    None,
    Bridge,
    /// As the host is.
    #[default]
    Auto,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self::None),
            "bridge" => Ok(Self::Bridge),
            "auto" => Ok(Self::Auto),
            _ => Err("it must be auto, bridge or none"),
        }
    }
}

/// The network of a daemon by this name.
pub fn read(from: &mut Reader, name: &str) -> Wanted {
    let mode = from.parsed("network.mode", str::parse::<Mode>).unwrap_or_default();
    let pool_v4 = from.parsed("network.pool_v4", |text| match parse_pool(text)? {
        IpNet::V4(net) => Ok(net),
        IpNet::V6(_) => Err(format!("{text:?} is of IPv6; this pool is of IPv4")),
    });
    // The word `none` is for hosts that want nothing to do with it.
    let pool_v6 = from.parsed("network.pool_v6", |text| match text {
        "none" => Ok(None),
        text => match parse_pool(text)? {
            IpNet::V6(net) => Ok(Some(net)),
            IpNet::V4(_) => Err(format!("{text:?} is of IPv4; this pool is of IPv6, or none")),
        },
    });
    let usual = NetworkConfig::usual(name);
    let config = NetworkConfig {
        pool_v4: pool_v4.unwrap_or(usual.pool_v4),
        pool_v6: pool_v6.unwrap_or(usual.pool_v6),
        open: from.each("network.open", range).unwrap_or_default(),
        resolvers: from.each("network.resolvers", resolver).unwrap_or_default(),
        enable_forwarding: from.switch("network.enable_forwarding").unwrap_or(usual.enable_forwarding),
        connections: connections(from, usual.connections),
        bandwidth: from.parsed("network.max_bandwidth", bandwidth),
        name: usual.name,
    };
    match mode {
        Mode::None => Wanted::Loopback(config),
        Mode::Bridge => Wanted::Bridge(config),
        Mode::Auto => Wanted::Auto(config),
    }
}

/// `is_open`: whoever reaches a port of this host is served without a key.
pub fn allow_host(from: &mut Reader, is_open: bool) -> bool {
    let allowed = from.switch("network.allow_host").unwrap_or(false);
    if allowed && is_open {
        from.problem(
            "network.allow_host: a sandbox with the host's network reaches what listens on TCP, and there no key is asked for: it \
             would be master of this host; set an API key, or listen on the socket alone",
        );
    }
    allowed
}

/// 0 is no bound at all.
fn connections(from: &mut Reader, usual: Option<u32>) -> Option<u32> {
    match from.number("network.max_connections") {
        None => usual,
        Some(0) => None,
        Some(most) => Some(u32::try_from(most).unwrap_or(u32::MAX)),
    }
}

fn bandwidth(text: &str) -> Result<u64, String> {
    let bytes = parse_memory(text).map_err(|error| error.to_string())?;
    if bytes < LEAST_BANDWIDTH {
        return Err(format!("{text:?} is {bytes} bytes a second; it must be at least {LEAST_BANDWIDTH}"));
    }
    Ok(bytes)
}

/// A network, or a single address.
fn range(text: &str) -> Result<IpNet, String> {
    let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map_err(|_| format!("{text:?} is no network and no address; write it as 10.0.0.0/8"))
}

fn resolver(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IP address"))
}
