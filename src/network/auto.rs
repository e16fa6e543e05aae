//! The mode `auto`: a network where this host has what it takes and lets it through, and loopback alone where not. Nothing of the
//! host is changed for it that the operator has not changed.

use super::config::NetworkConfig;
use super::host::Facts;
use super::range::Family;
use super::{Bridge, forwarding};

/// What of the network this host can have as it is, and with what it has to do without; or what stands in the way, and what to
/// do about it. Blocks.
///
/// # Errors
/// Everything that stands in the way, for people.
pub fn decide(config: NetworkConfig) -> Result<(NetworkConfig, Option<String>), String> {
    let facts = Facts::find(&config);
    judge(config, &facts)
}

/// After the network could not be opened all the same: nothing of it stays, where no sandbox of an earlier daemon has it.
pub fn withdraw(config: &NetworkConfig) {
    if let Err(error) = Bridge::remove_unused(&config.name) {
        tracing::warn!(%error, "a part of a network that nobody has is left");
    }
}

/// Looks after the sandboxes that have a network of an earlier daemon, where there are any; others get none. Where their rules
/// cannot be guarded, they lose that network: without rules everything would pass. Blocks.
pub fn keep(config: NetworkConfig) -> Option<Bridge> {
    let name = config.name.clone();
    let kept = Bridge::keep(config);
    if let Err(error) = &kept {
        tracing::error!(%error, "the rules of sandboxes that have a network cannot be guarded; they lose it");
        if let Err(error) = Bridge::cut_all(&name) {
            tracing::error!(%error, "interfaces of sandboxes could not be taken away");
        }
    }
    kept.ok().flatten()
}

pub(super) fn judge(config: NetworkConfig, facts: &Facts) -> Result<(NetworkConfig, Option<String>), String> {
    let hindrances = hindrances(&config, facts);
    if !hindrances.is_empty() {
        return Err(hindrances.join("; "));
    }
    let without_v6 = config.pool_v6.and_then(|_| no_v6(facts)).map(|why| format!("without IPv6, because {why}"));
    let pool_v6 = config.pool_v6.filter(|_| without_v6.is_none());
    Ok((NetworkConfig { pool_v6, enable_forwarding: false, ..config }, without_v6))
}

fn hindrances(config: &NetworkConfig, facts: &Facts) -> Vec<String> {
    let mut all = Vec::new();
    match facts.forwarding_v4 {
        Some(true) => {}
        Some(false) => all.push(format!(
            "packets are not passed on here ({} is 0): write 1 to it, or set network.mode = \"bridge\" and the daemon does",
            forwarding::V4
        )),
        None => all.push("this host has no IPv4".to_owned()),
    }
    all.extend(facts.links.as_ref().err().map(|error| format!("interfaces cannot be made ({error})")));
    all.extend(facts.rules.as_ref().err().map(|error| format!("the packet filter cannot be used ({error})")));
    if facts.has_old_filter {
        all.push(format!(
            "the host has rules of the old iptables, which cannot be looked at: where they let {} pass, set network.mode = \
             \"bridge\"",
            config.pool_v4
        ));
    }
    match &facts.closed {
        Ok(closed) => all.extend(closed.iter().find(|chain| chain.concerns(Family::V4)).map(|chain| {
            format!(
                "{} drops what is passed on: let {} pass there, and set network.mode = \"bridge\"",
                chain.name, config.pool_v4
            )
        })),
        Err(error) => all.push(format!("the host's own rules cannot be looked at ({error})")),
    }
    all.extend(facts.taken_v4.clone());
    all
}

fn no_v6(facts: &Facts) -> Option<String> {
    match facts.forwarding_v6 {
        Some(true) => {}
        Some(false) => return Some(format!("its packets are not passed on here ({} is 0)", forwarding::V6)),
        None => return Some("this host has none".to_owned()),
    }
    if facts.has_old_filter_v6 {
        return Some("the host has rules of the old ip6tables, which cannot be looked at".to_owned());
    }
    if let Some(taken) = &facts.taken_v6 {
        return Some(taken.clone());
    }
    let closed = facts.closed.as_ref().ok()?.iter().find(|chain| chain.concerns(Family::V6));
    closed.map(|chain| format!("{} drops what is passed on", chain.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nft::Closed;

    fn able() -> Facts {
        Facts {
            links: Ok(()),
            rules: Ok(()),
            connections: None,
            forwarding_v4: Some(true),
            forwarding_v6: Some(true),
            closed: Ok(vec![]),
            has_old_filter: false,
            has_old_filter_v6: false,
            taken_v4: None,
            taken_v6: None,
        }
    }

    fn judged(facts: &Facts) -> Result<(NetworkConfig, Option<String>), String> {
        judge(NetworkConfig::usual("x"), facts)
    }

    #[test]
    fn a_host_that_can_has_a_network_and_stays_as_it_is() {
        let (config, without) = judged(&able()).expect("able");
        assert!(config.pool_v6.is_some() && without.is_none());
        assert!(!config.enable_forwarding);
    }

    #[test]
    fn whatever_stands_in_the_way_is_told_with_what_to_do() {
        let no = |facts: Facts| judged(&facts).expect_err("unable");
        let off = no(Facts { forwarding_v4: Some(false), ..able() });
        assert!(off.contains("/proc/sys/net/ipv4/ip_forward is 0): write 1 to it"), "{off}");
        let closed = no(Facts { closed: Ok(vec![Closed::in_table("ip", "filter", "FORWARD")]), ..able() });
        assert!(closed.starts_with("chain FORWARD of table ip filter drops"), "{closed}");
        assert!(closed.contains("let 10.211.0.0/16 pass there, and set network.mode = \"bridge\""), "{closed}");
        for facts in [
            Facts { links: Err("EOPNOTSUPP".into()), ..able() },
            Facts { rules: Err("EOPNOTSUPP".into()), ..able() },
            Facts { closed: Err("EOPNOTSUPP".into()), ..able() },
        ] {
            assert!(no(facts).contains("EOPNOTSUPP"));
        }
        assert!(no(Facts { has_old_filter: true, ..able() }).contains("old iptables"));
        assert_eq!(no(Facts { taken_v4: Some("it is taken".into()), ..able() }), "it is taken");
        let both = no(Facts { forwarding_v4: None, rules: Err("x".into()), ..able() });
        assert_eq!(both, "this host has no IPv4; the packet filter cannot be used (x)");
    }

    #[test]
    fn a_host_that_can_only_ipv4_has_that() {
        let closed = Ok(vec![Closed::in_table("ip6", "filter", "FORWARD")]);
        for (facts, why) in [
            (Facts { forwarding_v6: Some(false), ..able() }, "its packets are not passed on here"),
            (Facts { forwarding_v6: None, ..able() }, "this host has none"),
            (Facts { has_old_filter_v6: true, ..able() }, "the host has rules of the old ip6tables"),
            (Facts { taken_v6: Some("it is taken".into()), ..able() }, "it is taken"),
            (Facts { closed, ..able() }, "chain FORWARD of table ip6 filter drops"),
        ] {
            let (config, without) = judged(&facts).expect("able");
            assert_eq!(config.pool_v6, None);
            let without = without.expect("told");
            assert!(without.starts_with(&format!("without IPv6, because {why}")), "{without}");
        }
    }
}
