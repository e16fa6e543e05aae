//! What a link says of itself: whose it is, and what was agreed for it. A later daemon reads it there.

use std::net::Ipv4Addr;

use crate::model::{NetworkTerms, SandboxId};

const FIRST: &str = "bivouac";

/// What is read of a link.
pub type Told = (SandboxId, Ipv4Addr, NetworkTerms, Option<u32>);

/// `network` is the number of the network whose name is in the terms. At most 255 bytes (`IFALIASZ`).
#[must_use]
pub fn write(id: &SandboxId, address: Ipv4Addr, terms: &NetworkTerms, network: Option<u32>) -> String {
    let NetworkTerms { connections, bandwidth, name } = terms;
    let mut text = format!("{FIRST} {id} {address}");
    let terms = [
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
    let (mut terms, mut network) = (NetworkTerms::default(), None);
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        match name {
            "connections" => terms.connections = Some(value.parse().ok()?),
            "bandwidth" => terms.bandwidth = Some(value.parse().ok()?),
            "name" => terms.name = Some(value.parse().ok()?),
            "network" => network = Some(value.parse().ok()?),
            _ => {}
        }
    }
    Some((id, address, terms, network))
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
            let text = write(&id, Ipv4Addr::new(255, 255, 255, 255), &terms, network);
            assert!(text.len() < 256);
            let text = write(&id, address, &terms, network);
            assert_eq!(read(&text), Some((id.clone(), address, terms, network)));
        }
        // Of a version before, and of one to come.
        assert!(read(&format!("bivouac {id} 10.9.0.2")).is_some_and(|(_, _, terms, _)| terms.is_empty()));
        assert!(read(&format!("bivouac {id} 10.9.0.2 colour=red word")).is_some());
        for bad in ["", "bivouac", "bivouac x 10.9.0.2", "other", &format!("bivouac {id} 10.9.0.2 connections=x")] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
