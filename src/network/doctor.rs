//! What this host has of what the network of sandboxes needs, and what the daemon does about the rest. Changes nothing: what
//! cannot be seen is tried out in a namespace of its own.

use std::fs::{self, File};
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::bridge::INSIDE;
use super::forwarding;
use super::link;
use super::netlink::{NetlinkError, Protocol, apart, transact};
use super::nft::{CannotFilter, Sandboxes, Table};
use crate::model::Finding;

/// What the findings are made from.
#[derive(Debug)]
struct Facts {
    links: Result<(), String>,
    rules: Result<(), String>,
    /// How many connections the host keeps track of (`/proc/sys/net/netfilter/nf_conntrack_max`).
    connections: Option<String>,
    /// Whether packets are passed on; `None` where the host has nothing of the family.
    forwarding_v4: Option<bool>,
    forwarding_v6: Option<bool>,
}

/// Looks at the host.
#[must_use]
pub fn examine() -> Vec<Finding> {
    let connections = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok();
    findings(&Facts {
        links: try_links(),
        rules: try_rules(),
        connections: connections.map(|text| text.trim().to_owned()),
        forwarding_v4: forwarding::is_on(forwarding::V4),
        forwarding_v6: forwarding::is_on(forwarding::V6),
    })
}

/// Makes what a sandbox gets, and what the gateway is, in a namespace that nobody else is in.
pub fn try_links() -> Result<(), String> {
    let told = |error: NetlinkError| words(error.errno, error.to_string());
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
pub fn try_rules() -> Result<(), String> {
    let pools = ("10.211.0.0/16".parse(), "fdb1:7000:211::/64".parse());
    let (Ok(pool_v4), Ok(pool_v6)) = pools else { return Err("the pools do not parse".to_owned()) };
    let sandboxes = Sandboxes { group: 1, pool_v4, pool_v6: Some(pool_v6), open: Vec::new(), connections: 1 };
    let tried = apart(|| Ok(Table::open("bivouac_trial", &sandboxes).map(drop)));
    match tried {
        Ok(Ok(())) => Ok(()),
        Ok(Err(CannotFilter::Netlink(error))) | Err(error) => Err(words(error.errno, error.to_string())),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

fn words(errno: Errno, text: String) -> String {
    if errno == Errno::EPERM { "only root can tell".to_owned() } else { text }
}

fn findings(facts: &Facts) -> Vec<Finding> {
    let optional = |feature: &str, found, detail: String| Finding {
        feature: feature.to_owned(),
        found,
        detail,
        fallback: Some("sandboxes have loopback alone (network.mode = \"none\")".to_owned()),
        lost: Some("the network of sandboxes".to_owned()),
        required: false,
    };
    let tried = |result: &Result<(), String>| result.clone().err().unwrap_or_else(|| "tried out".to_owned());
    let connections = match &facts.connections {
        Some(most) => format!("up to {most} on this host"),
        None if facts.rules.is_ok() => "is loaded with the rules".to_owned(),
        None => "/proc/sys/net/netfilter/nf_conntrack_max is not there; try `modprobe nf_conntrack`".to_owned(),
    };
    let forwarding = |family: &str, path: &str, on: Option<bool>| Finding {
        fallback: Some(
            "the daemon switches it on where network.mode is \"bridge\" (network.enable_forwarding = false forbids it)"
                .to_owned(),
        ),
        lost: None,
        ..optional(
            &format!("forwarding of {family}"),
            on == Some(true),
            match on {
                Some(true) => format!("{path} is on"),
                Some(false) => format!("{path} is 0"),
                None => format!("this host has no {family}; sandboxes have none either"),
            },
        )
    };
    vec![
        optional("virtual interfaces (veth, bridge)", facts.links.is_ok(), tried(&facts.links)),
        optional("packet filter (nf_tables)", facts.rules.is_ok(), tried(&facts.rules)),
        optional("tracked connections (nf_conntrack)", facts.connections.is_some() || facts.rules.is_ok(), connections),
        forwarding("IPv4", forwarding::V4, facts.forwarding_v4),
        forwarding("IPv6", forwarding::V6, facts.forwarding_v6),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_what_it_lacks_and_nothing_is_required() {
        let all = findings(&Facts {
            links: Ok(()),
            rules: Err("netlink NFT_MSG_NEWTABLE: EOPNOTSUPP".to_owned()),
            connections: None,
            forwarding_v4: Some(true),
            forwarding_v6: Some(false),
        });
        let found: Vec<bool> = all.iter().map(|finding| finding.found).collect();
        assert_eq!(found, [true, false, false, true, false]);
        assert!(all.iter().all(|finding| !finding.required));
        assert!(all[1].detail.contains("EOPNOTSUPP") && all[2].detail.contains("modprobe"));
        assert!(all[4].fallback.as_deref().is_some_and(|text| text.contains("enable_forwarding")));
    }
}
