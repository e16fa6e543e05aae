//! `[network]`: what sandboxes reach, and with which addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::Reader;
use crate::model::{LEAST_BANDWIDTH, NetworkMode, parse_memory};
use crate::network::{NetworkConfig, parse_pool, usual_connections};

const POOL_V4: &str = "10.211.0.0/16";
const POOL_V6: &str = "fdb1:7000:211::/64";

/// The network of a daemon by this name; `None` when its sandboxes have loopback alone.
pub fn read(from: &mut Reader, name: &str) -> Option<NetworkConfig> {
    let mode = from.parsed("network.mode", str::parse::<NetworkMode>).unwrap_or(NetworkMode::None);
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
    let config = NetworkConfig {
        name: name.to_owned(),
        pool_v4: pool_v4.or_else(|| POOL_V4.parse().ok())?,
        pool_v6: pool_v6.unwrap_or_else(|| POOL_V6.parse().ok()),
        open: from.each("network.open", range).unwrap_or_default(),
        resolvers: from.each("network.resolvers", resolver).unwrap_or_default(),
        enable_forwarding: from.switch("network.enable_forwarding").unwrap_or(true),
        connections: connections(from),
        bandwidth: from.parsed("network.max_bandwidth", bandwidth),
    };
    (mode == NetworkMode::Bridge).then_some(config)
}

/// 0 is no bound at all.
fn connections(from: &mut Reader) -> Option<u32> {
    match from.number("network.max_connections") {
        None => Some(usual_connections()),
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
