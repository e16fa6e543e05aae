//! Whether the host has another network with the addresses of sandboxes: it would be cut off by ours.

use ipnet::IpNet;
use thiserror::Error;

use super::netlink::NetlinkError;
use super::{link, range};

#[derive(Debug, Error)]
pub enum Overlap {
    #[error("use the addresses of {pool}: this host has a route to {route}; set network.pool_v4 or network.pool_v6")]
    Taken { pool: IpNet, route: IpNet },
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Looks at every route of the family.
///
/// # Errors
/// When one leads to a part of the pool, or the kernel cannot be asked.
pub fn check(pool: IpNet) -> Result<(), Overlap> {
    let family = if pool.addr().is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // A single address of the pool is the gateway's, or a sandbox's.
    let nets = link::routes(family)?
        .into_iter()
        .filter(|(address, length)| *length > 0 && *length < pool.max_prefix_len() && !address.is_multicast());
    let ours = range::of_net(&pool);
    let overlaps = |net: &IpNet| {
        let theirs = range::of_net(net);
        theirs.first <= ours.last && ours.first <= theirs.last
    };
    let mut nets = nets.filter_map(|(address, length)| IpNet::new(address, length).ok());
    match nets.find(overlaps) {
        Some(route) => Err(Overlap::Taken { pool, route }),
        None => Ok(()),
    }
}
