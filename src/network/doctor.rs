//! What this host has of what the network of sandboxes needs, and what the daemon does about the rest.

use super::auto::judge;
use super::config::NetworkConfig;
use super::forwarding;
use super::host::Facts;
use crate::model::Finding;

/// Looks at the host.
#[must_use]
pub fn examine() -> Vec<Finding> {
    let usual = NetworkConfig::usual("bivouac");
    let facts = Facts::find(&usual);
    findings(&facts, usual)
}

fn findings(facts: &Facts, usual: NetworkConfig) -> Vec<Finding> {
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
    let (chosen, why) = match judge(usual, facts) {
        Ok((_, None)) => (true, "bridge: it has what it takes, and its own rules let it through".to_owned()),
        Ok((_, Some(without))) => (true, format!("bridge, {without}")),
        Err(why) => (false, why),
    };
    vec![
        optional("virtual interfaces (veth, bridge)", facts.links.is_ok(), tried(&facts.links)),
        optional("packet filter (nf_tables)", facts.rules.is_ok(), tried(&facts.rules)),
        optional("tracked connections (nf_conntrack)", facts.connections.is_some() || facts.rules.is_ok(), connections),
        forwarding("IPv4", forwarding::V4, facts.forwarding_v4),
        forwarding("IPv6", forwarding::V6, facts.forwarding_v6),
        optional("network without being told (mode auto)", chosen, why),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let all = findings(&facts, NetworkConfig::usual("x"));
        let found: Vec<bool> = all.iter().map(|finding| finding.found).collect();
        assert_eq!(found, [true, false, false, true, false, false]);
        assert!(all.iter().all(|finding| !finding.required));
        assert!(all[1].detail.contains("EOPNOTSUPP") && all[2].detail.contains("modprobe"));
        assert!(all[4].fallback.as_deref().is_some_and(|text| text.contains("enable_forwarding")));
        assert!(all[5].detail.contains("the packet filter cannot be used (netlink"), "{}", all[5].detail);
        let able = Facts { rules: Ok(()), ..facts };
        let last = findings(&able, NetworkConfig::usual("x")).pop().expect("findings");
        assert!(last.found && last.detail.starts_with("bridge, without IPv6"), "{}", last.detail);
    }
}
