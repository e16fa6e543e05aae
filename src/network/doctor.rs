//! What this host has of what the network of sandboxes needs, and what the daemon does about the rest.

use super::auto::judge;
use super::config::{NetworkConfig, Wanted};
use super::forwarding;
use super::host::Facts;
use super::range::Family;
use crate::model::Finding;

/// Looks at the host, for a daemon with this configuration, or one of which it is not known, and why.
#[must_use]
pub fn examine(wanted: Result<Wanted, String>) -> Vec<Finding> {
    let facts = Facts::find(&match &wanted {
        Ok(Wanted::Loopback(config) | Wanted::Bridge(config) | Wanted::Auto(config)) => config.clone(),
        Err(_) => NetworkConfig::usual("bivouac"),
    });
    findings(&facts, wanted)
}

fn findings(facts: &Facts, wanted: Result<Wanted, String>) -> Vec<Finding> {
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
    let forwarding = |family: &str, path: &str, on: Option<bool>| {
        Finding {
        fallback: Some(
            "the daemon switches it on where network.mode is \"bridge\" (network.enable_forwarding = false forbids it), and \
             leaves it off where that is \"auto\""
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
    }
    };
    let (feature, (found, detail)) = network(facts, wanted);
    let network = Finding { detail, ..optional(feature, found, String::new()) };
    let network = match feature {
        NOT_KNOWN | DEMANDED => {
            Finding { fallback: None, lost: Some("the daemon does not start".to_owned()), ..network }
        }
        _ => network,
    };
    vec![
        optional("virtual interfaces (veth, bridge)", facts.links.is_ok(), tried(&facts.links)),
        optional("packet filter (nf_tables)", facts.rules.is_ok(), tried(&facts.rules)),
        optional("tracked connections (nf_conntrack)", facts.connections.is_some() || facts.rules.is_ok(), connections),
        forwarding("IPv4", forwarding::V4, facts.forwarding_v4),
        forwarding("IPv6", forwarding::V6, facts.forwarding_v6),
        network,
    ]
}

const NOT_KNOWN: &str = "network";
const DEMANDED: &str = "network (mode bridge)";

/// What sandboxes have: a feature, whether it is there, and why.
fn network(facts: &Facts, wanted: Result<Wanted, String>) -> (&'static str, (bool, String)) {
    match wanted {
        Ok(Wanted::Loopback(_)) => ("network (mode none)", (true, "loopback alone, as configured".to_owned())),
        Ok(Wanted::Bridge(config)) => (DEMANDED, demanded(&config, facts)),
        Ok(Wanted::Auto(config)) => ("network without being told (mode auto)", chosen(config, facts)),
        Err(problem) => (NOT_KNOWN, (false, format!("its configuration cannot be understood: {problem}"))),
    }
}

fn chosen(config: NetworkConfig, facts: &Facts) -> (bool, String) {
    match judge(config, facts) {
        Ok((_, None)) => (true, "bridge: it has what it takes, and its own rules let it through".to_owned()),
        Ok((_, Some(without))) => (true, format!("bridge, {without}")),
        Err(why) => (false, why),
    }
}

/// What keeps a daemon that is to have a network from starting; and what would stop the packets of one that starts.
fn demanded(config: &NetworkConfig, facts: &Facts) -> (bool, String) {
    let mut all = Vec::new();
    all.extend(facts.links.as_ref().err().map(|error| format!("interfaces cannot be made ({error})")));
    all.extend(facts.rules.as_ref().err().map(|error| format!("the packet filter cannot be used ({error})")));
    let v6 = config.pool_v6.map(|_| (forwarding::V6, facts.forwarding_v6, &facts.taken_v6));
    for (path, is_on, taken) in [Some((forwarding::V4, facts.forwarding_v4, &facts.taken_v4)), v6].into_iter().flatten()
    {
        if is_on == Some(false) && !config.enable_forwarding {
            all.push(format!("{path} is 0, and network.enable_forwarding is false: write 1 to it"));
        }
        all.extend(taken.clone());
    }
    if !all.is_empty() {
        return (false, all.join("; "));
    }
    let pools =
        [(Family::V4, Some(config.pool_v4.to_string())), (Family::V6, config.pool_v6.map(|pool| pool.to_string()))];
    let closed = pools.into_iter().filter_map(|(family, pool)| {
        let chain = facts.closed.as_ref().ok()?.iter().find(|chain| chain.concerns(family))?;
        Some(format!("{} drops what is passed on, unless {} passes there", chain.name, pool?))
    });
    let told: Vec<String> = ["it has what it takes".to_owned()].into_iter().chain(closed).collect();
    (true, told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nft::Closed;

    fn auto() -> Result<Wanted, String> {
        Ok(Wanted::Auto(NetworkConfig::usual("x")))
    }

    #[test]
    fn a_host_is_told_what_it_lacks_and_nothing_is_required() {
        let facts = Facts {
            links: Ok(()),
            rules: Err("netlink NFT_MSG_NEWTABLE: EOPNOTSUPP".to_owned()),
            connections: None,
            forwarding_v4: Some(true),
            forwarding_v6: Some(false),
            closed: Ok(Vec::new()),
            has_old_filter: false,
            has_old_filter_v6: false,
            taken_v4: None,
            taken_v6: None,
        };
        let all = findings(&facts, auto());
        let found: Vec<bool> = all.iter().map(|finding| finding.found).collect();
        assert_eq!(found, [true, false, false, true, false, false]);
        assert!(all.iter().all(|finding| !finding.required));
        assert!(all[1].detail.contains("EOPNOTSUPP") && all[2].detail.contains("modprobe"));
        assert!(all[4].fallback.as_deref().is_some_and(|text| text.contains("enable_forwarding")));
        assert!(all[5].detail.contains("the packet filter cannot be used (netlink"), "{}", all[5].detail);
        let able = Facts { rules: Ok(()), ..facts };
        let last = findings(&able, auto()).pop().expect("findings");
        assert!(last.found && last.detail.starts_with("bridge, without IPv6"), "{}", last.detail);
    }

    #[test]
    fn a_host_is_judged_by_what_the_daemon_is_told() {
        let facts = Facts {
            links: Ok(()),
            rules: Ok(()),
            connections: None,
            forwarding_v4: Some(false),
            forwarding_v6: Some(true),
            closed: Ok(vec![Closed::in_table("ip", "filter", "FORWARD")]),
            has_old_filter: false,
            has_old_filter_v6: false,
            taken_v4: None,
            taken_v6: Some("it is taken".to_owned()),
        };
        let usual = NetworkConfig::usual("x");
        let last = |wanted| findings(&facts, wanted).pop().expect("findings");
        let none = last(Ok(Wanted::Loopback(usual.clone())));
        assert!(none.found && none.feature == "network (mode none)");
        let taken = last(Ok(Wanted::Bridge(usual.clone())));
        assert_eq!((taken.found, taken.detail.as_str()), (false, "it is taken"));
        assert_eq!(taken.lost.as_deref(), Some("the daemon does not start"));
        let v4 = NetworkConfig { pool_v6: None, ..usual };
        let open = last(Ok(Wanted::Bridge(v4.clone())));
        assert!(open.found && open.detail.ends_with("drops what is passed on, unless 10.211.0.0/16 passes there"));
        let off = last(Ok(Wanted::Bridge(NetworkConfig { enable_forwarding: false, ..v4 })));
        assert!(!off.found && off.detail.contains("ip_forward is 0, and network.enable_forwarding is false"));
        let slip = last(Err("there is no key network.mdoe".to_owned()));
        assert!(!slip.found && slip.detail.ends_with("network.mdoe"), "{}", slip.detail);
    }
}
