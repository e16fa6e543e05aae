//! What this host has of what the network of sandboxes needs. Changes nothing: what cannot be seen is tried out in a namespace of
//! its own.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsFd;

use ipnet::IpNet;
use nix::errno::Errno;

use super::bridge::INSIDE;
use super::config::NetworkConfig;
use super::netlink::{NetlinkError, Protocol, apart, transact};
use super::nft::{self, CannotFilter, Closed, Table};
use super::{forwarding, link, overlap, resolver};

/// The tables of an `iptables` that does not speak nf_tables, and of its sister for IPv6; not there where no such is loaded.
const OLD_TABLES: [&str; 2] = ["/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"];

#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub links: Result<(), String>,
    pub rules: Result<(), String>,
    /// How many connections the host keeps track of (`/proc/sys/net/netfilter/nf_conntrack_max`).
    pub connections: Option<String>,
    /// Whether packets are passed on; `None` where the host has nothing of the family.
    pub forwarding_v4: Option<bool>,
    pub forwarding_v6: Option<bool>,
    /// Rules of the host's that close the way through it.
    pub closed: Result<Vec<Closed>, String>,
    /// Whether there are rules that cannot be looked at; for IPv4 and for IPv6.
    pub has_old_filter: bool,
    pub has_old_filter_v6: bool,
    /// What else has the addresses of sandboxes, or the port of their resolver; of IPv4 and of IPv6.
    pub taken_v4: Option<String>,
    pub taken_v6: Option<String>,
}

impl Facts {
    pub fn find(config: &NetworkConfig) -> Self {
        let connections = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok();
        let [has_old_filter, has_old_filter_v6] =
            OLD_TABLES.map(|path| fs::read_to_string(path).unwrap_or_default().lines().any(|table| table == "filter"));
        Self {
            links: try_links(),
            rules: try_rules(config),
            connections: connections.map(|text| text.trim().to_owned()),
            forwarding_v4: forwarding::is_on(forwarding::V4),
            forwarding_v6: forwarding::is_on(forwarding::V6),
            closed: nft::closed().map_err(told),
            has_old_filter,
            has_old_filter_v6,
            taken_v4: taken(config.pool_v4.into(), config.pool_v4.broadcast().into()),
            taken_v6: config.pool_v6.and_then(|pool| taken(pool.into(), pool.broadcast().into())),
        }
    }
}

/// Whether there is room for a network; `last` is an address of the pool that nobody has.
fn taken(pool: IpNet, last: IpAddr) -> Option<String> {
    let overlap = overlap::check(pool).err().map(|error| format!("the daemon cannot {error}"));
    overlap.or_else(|| {
        let port = resolver::is_taken(last);
        port.then(|| {
            "another resolver of this host listens on port 53 of all addresses: let it listen on some".to_owned()
        })
    })
}

/// Makes what a sandbox gets, and what the gateway is, in a namespace that nobody else is in.
fn try_links() -> Result<(), String> {
    let tried = apart(|| {
        let io = |error: std::io::Error| NetlinkError {
            what: "open a network namespace".into(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        };
        let here = File::open("/proc/thread-self/ns/net").map_err(io)?;
        let links = [link::make_anchor("bvk-trial"), link::make_pair("bvktrial", 1, INSIDE, here.as_fd())];
        transact(Protocol::Route, &links)
    });
    tried.map_err(told)
}

/// Puts the rules in place there.
fn try_rules(config: &NetworkConfig) -> Result<(), String> {
    let tried = apart(|| Ok(Table::open("bivouac_trial", &config.sandboxes(1)).map(drop)));
    match tried {
        Ok(Ok(())) => Ok(()),
        Ok(Err(CannotFilter::Netlink(error))) | Err(error) => Err(told(error)),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

fn told(error: NetlinkError) -> String {
    if error.errno == Errno::EPERM { "only root can tell".to_owned() } else { error.to_string() }
}
