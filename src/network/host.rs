//! What this host has of what the network of sandboxes needs. Changes nothing: what cannot be seen is tried out in a namespace of
//! its own.

use std::fs::{self, File};
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::bridge::{INSIDE, check_overlap};
use super::config::NetworkConfig;
use super::netlink::{NetlinkError, Protocol, apart, transact};
use super::nft::{self, CannotFilter, Closed, Table};
use super::{forwarding, link};

/// The tables of an `iptables` that does not speak nf_tables; not there where no such is loaded.
const OLD_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

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
    /// Whether there are rules that cannot be looked at.
    pub has_old_filter: bool,
    /// What else has the addresses of sandboxes.
    pub overlap: Option<String>,
}

impl Facts {
    pub fn find(config: &NetworkConfig) -> Self {
        let connections = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok();
        let old_tables = fs::read_to_string(OLD_TABLES).unwrap_or_default();
        Self {
            links: try_links(),
            rules: try_rules(config),
            connections: connections.map(|text| text.trim().to_owned()),
            forwarding_v4: forwarding::is_on(forwarding::V4),
            forwarding_v6: forwarding::is_on(forwarding::V6),
            closed: nft::closed().map_err(told),
            has_old_filter: old_tables.lines().any(|table| table == "filter"),
            overlap: check_overlap(config).err().map(|error| format!("the daemon cannot {error}")),
        }
    }
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
