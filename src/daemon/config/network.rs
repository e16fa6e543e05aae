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

/// `too_open` is what [`too_open`] says.
pub fn allow_host(from: &mut Reader, too_open: Option<&str>) -> bool {
    let allowed = from.switch("network.allow_host").unwrap_or(false);
    if let Some(why) = too_open.filter(|_| allowed) {
        from.problem(format!("network.allow_host: {why}"));
    }
    allowed
}

/// Why no sandbox with the host's network may be beside these doors, and what to do about it.
pub fn too_open(on_tcp: bool, has_keys: bool, open_ports: bool) -> Option<&'static str> {
    match (on_tcp, has_keys, open_ports) {
        (true, false, _) => Some(
            "a sandbox with the host's network reaches what listens on TCP, and there no key is asked for: it would be master of \
             this host; set an API key, or listen on the socket alone",
        ),
        (true, true, true) => Some(
            "a sandbox with the host's network reaches what listens on TCP, and there the ports of all other sandboxes are open \
             (proxy.open_ports): set that to false, or listen on the socket alone",
        ),
        _ => None,
    }
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
