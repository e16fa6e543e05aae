//! What went through for one sandbox: the counters that are attached to its elements, all asked for in one go.

use super::element::{Member, key, read, set_of};
use super::refusal::{self, REASONS};
use super::ruleset::{REFUSED, destinations, sources};
use super::table::Table;
use crate::model::{NetworkUsage, Refusal, Traffic};
use crate::network::netlink::{NetlinkError, Protocol, ask};
use crate::network::range::Family;

impl Table {
    /// What was counted for the sandbox; the elements of others are not looked at.
    pub fn traffic(&self, member: &Member) -> Result<NetworkUsage, NetlinkError> {
        let reasons = Refusal::ALL.map(|reason| refusal::key(member.link, reason));
        let mut questions = self.asking(REFUSED, &[member.link.to_ne_bytes().to_vec()]);
        questions.extend(self.asking(REASONS, &reasons));
        for address in &member.addresses {
            let (family, key) = (Family::of(*address), key(member.link, *address));
            questions.extend(
                [sources(family), destinations(family)]
                    .iter()
                    .flat_map(|set| self.asking(set, std::slice::from_ref(&key))),
            );
        }
        let answers = ask(Protocol::Netfilter, &questions)?;
        let mut usage = NetworkUsage::default();
        for body in &answers {
            let set = set_of(body).unwrap_or_default();
            for element in read(body) {
                if set == REASONS.as_bytes() {
                    if let Some(at) = reasons.iter().position(|key| *key == element.key) {
                        usage.by_reason[at] = element.counted.packets;
                    }
                } else if let Some(sum) = sum_of(&mut usage, set) {
                    sum.bytes += element.counted.bytes;
                    sum.packets += element.counted.packets;
                }
            }
        }
        Ok(usage)
    }
}

fn sum_of<'a>(usage: &'a mut NetworkUsage, set: &[u8]) -> Option<&'a mut Traffic> {
    let one_of = |name: fn(Family) -> &'static str| Family::BOTH.iter().any(|family| name(*family).as_bytes() == set);
    match set {
        _ if one_of(sources) => Some(&mut usage.sent),
        _ if one_of(destinations) => Some(&mut usage.received),
        _ if set == REFUSED.as_bytes() => Some(&mut usage.refused),
        _ => None,
    }
}
