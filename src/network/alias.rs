//! What a link says of itself: whose it is, and what was agreed for it. A later daemon reads it there.

use std::net::Ipv4Addr;

use crate::model::{NetworkTerms, SandboxId};

const FIRST: &str = "bivouac";

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub id: SandboxId,
    pub address: Ipv4Addr,
    /// Whether it has one of IPv6 too, at the same place of the pool; daemons of before did not tell.
    pub has_v6: Option<bool>,
    pub terms: NetworkTerms,
    /// The number of the network whose name is in the terms.
    pub network: Option<u32>,
}

/// At most 255 bytes (`IFALIASZ`).
#[must_use]
pub fn write(told: &Told) -> String {
    let Told { id, address, has_v6, terms: NetworkTerms { connections, bandwidth, name }, network } = told;
    let mut text = format!("{FIRST} {id} {address}");
    let terms = [
        has_v6.map(|has| format!(" v6={has}")),
        connections.map(|most| format!(" connections={most}")),
        bandwidth.map(|most| format!(" bandwidth={most}")),
        name.as_ref().map(|name| format!(" name={}", name.as_str())),
        network.map(|number| format!(" network={number}")),
    ];
    terms.into_iter().flatten().for_each(|term| text.push_str(&term));
    text
}

/// `None` when it is not one of these. A term that this version does not know is none of its business.
#[must_use]
pub fn read(text: &str) -> Option<Told> {
    let mut words = text.split(' ');
    if words.next() != Some(FIRST) {
        return None;
    }
    let (id, address) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (mut terms, mut network, mut has_v6) = (NetworkTerms::default(), None, None);
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        match name {
            "v6" => has_v6 = Some(value.parse().ok()?),
            "connections" => terms.connections = Some(value.parse().ok()?),
            "bandwidth" => terms.bandwidth = Some(value.parse().ok()?),
            "name" => terms.name = Some(value.parse().ok()?),
            "network" => network = Some(value.parse().ok()?),
            _ => {}
        }
    }
    Some(Told { id, address, has_v6, terms, network })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let id = SandboxId::random();
        let address = Ipv4Addr::new(10, 9, 0, 2);
        for terms in [
            NetworkTerms::default(),
            NetworkTerms {
                connections: Some(u32::MAX),
                bandwidth: Some(u64::MAX),
                name: Some("x".repeat(63).parse().expect("a name")),
            },
            NetworkTerms { bandwidth: Some(1), ..NetworkTerms::default() },
        ] {
            let network = terms.name.as_ref().map(|_| u32::MAX);
            let told = Told { id: id.clone(), address: Ipv4Addr::BROADCAST, has_v6: Some(false), terms, network };
            assert!(write(&told).len() < 256);
            for has_v6 in [None, Some(true), Some(false)] {
                let told = Told { address, has_v6, ..told.clone() };
                assert_eq!(read(&write(&told)), Some(told));
            }
        }
        // Of a version before, and of one to come.
        assert!(
            read(&format!("bivouac {id} 10.9.0.2")).is_some_and(|told| told.terms.is_empty() && told.has_v6.is_none())
        );
        assert!(read(&format!("bivouac {id} 10.9.0.2 colour=red word")).is_some());
        for bad in ["", "bivouac", "bivouac x 10.9.0.2", "other", &format!("bivouac {id} 10.9.0.2 connections=x")] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
