//! How many connections a sandbox may have at once: the host's table of them is one for all.
//!
//! Two rules serve every sandbox; what is counted, and how far it may go, is attached to the element of its interface. Counted is
//! what passed all other rules, by its first packet. A connection that has ended is not counted, though the table remembers it
//! for a while: the kernel drops such ones first when the table fills (`nf_conntrack_tcp`, `can_early_drop`).
//!
//! The kernel remembers for a moment what it counted, refused connections too, and forgets a few of them at each tick. So new
//! ones are first held to a pace at which that list does not grow, however fast a sandbox tries.

use super::expression::{self as ex, Expression, FIRST, Meta, expression};
use super::refusal::chain;
use crate::model::Refusal;
use crate::network::netlink::Attributes;

/// Elements: the interface of every sandbox.
pub const CONNECTIONS: &str = "connections";
/// The same.
pub const PACE: &str = "pace";

/// Connections that a sandbox begins in a second, once it has begun as many as it may have at once. The kernel forgets 8 or more
/// at each tick, of which there are 100 or more in a second (`nf_conncount`, `CONNCOUNT_GC_MAX_NODES`).
const A_SECOND: u32 = 500;

/// `IPS_CONFIRMED`: the connection is in the table, so this is not its first packet.
const CONFIRMED: u32 = 8;
const INVERTED: u32 = 1;

/// Counts the connections of an element, and goes on when they are more than this.
pub fn more_than(most: u32) -> Expression {
    expression("connlimit", Attributes::new().number(1, most).number(2, INVERTED))
}

/// Goes on when an element is used more often than the pace allows, after so many at once.
pub fn faster(at_once: u32) -> Expression {
    let wide = |value: u32| u64::from(value).to_be_bytes();
    let (a_second, at_once) = if at_once == u32::MAX { (1 << 20, 1 << 20) } else { (A_SECOND, at_once.min(1 << 20)) };
    let data = Attributes::new().bytes(1, &wide(a_second)).bytes(2, &wide(1)).number(3, at_once);
    expression("limit", data.number(5, INVERTED))
}

/// What comes from a sandbox and would begin a connection too many is dropped.
pub fn rules() -> Vec<Vec<Expression>> {
    let begins = |set| {
        let mut rule = ex::connection_is_not(CONFIRMED).to_vec();
        let look = [ex::meta(Meta::InInterface, FIRST), ex::in_set(set, FIRST)];
        rule.extend(look.into_iter().chain([ex::go_to(chain(Refusal::Connections))]));
        rule
    };
    vec![begins(PACE), begins(CONNECTIONS), vec![ex::accept()]]
}
