//! The networks that the host itself is connected to, as sets of their own: they change while the rules stay.

use super::ruleset::Sandboxes;
use super::table::{Table, batch};
use crate::network::netlink::{NetlinkError, Protocol, transact};
use crate::network::range::{self, Family, Range};

/// Ranges of a family.
#[must_use]
pub fn near(family: Family) -> &'static str {
    if family == Family::V4 { "near4" } else { "near6" }
}

impl Table {
    /// From now on these networks are refused, less what the operator opens, and no others; nothing is done where it is so.
    /// In one step for each family.
    pub fn set_near(&self, networks: &[ipnet::IpNet], sandboxes: &Sandboxes) -> Result<bool, NetlinkError> {
        let mut changed = false;
        for family in Family::BOTH {
            let wanted = range::borders(family, &ranges(family, networks, sandboxes));
            let mut found: Vec<(Vec<u8>, bool)> =
                self.list(near(family))?.into_iter().map(|element| (element.key, element.ends)).collect();
            found.sort();
            let mut sorted = wanted.clone();
            sorted.sort();
            if found != sorted {
                let mut messages = vec![self.emptying(near(family))];
                messages.extend(self.ranges(near(family), &wanted));
                transact(Protocol::Netfilter, &batch(messages))?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

fn ranges(family: Family, networks: &[ipnet::IpNet], sandboxes: &Sandboxes) -> Vec<Range> {
    range::without(family, networks, &sandboxes.open)
}
