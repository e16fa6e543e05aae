//! What is refused to a sandbox is counted for it by the reason: each has a chain of its own, which counts and goes on to the
//! one that ends it.

use super::expression::{self as ex, Expression, FIRST, Meta, SECOND};
use crate::model::Refusal;

/// Elements: the interface of every sandbox with each of the reasons.
pub const REASONS: &str = "reasons";

/// Where a packet goes that is refused for this reason.
#[must_use]
pub fn chain(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Address => "drop_address",
        Refusal::Host => "refuse_host",
        Refusal::Sandbox => "refuse_sandbox",
        Refusal::Range => "refuse_range",
        Refusal::State => "drop_state",
        Refusal::Connections => "drop_connections",
        Refusal::Policy => "refuse_policy",
    }
}

/// The sender is told, unless that would say something to one who lies about his address, or ends what is only too early.
fn end(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Host | Refusal::Sandbox | Refusal::Range | Refusal::Policy => "refuse",
        Refusal::Address | Refusal::State | Refusal::Connections => "drop",
    }
}

pub fn rules(reason: Refusal) -> Vec<Vec<Expression>> {
    let counted =
        vec![ex::meta(Meta::InInterface, FIRST), ex::load(&number(reason), SECOND), ex::in_set(REASONS, FIRST)];
    vec![counted, vec![ex::go_to(end(reason))]]
}

#[must_use]
pub fn key(link: u32, reason: Refusal) -> Vec<u8> {
    [link.to_ne_bytes(), number(reason)].concat()
}

fn number(reason: Refusal) -> [u8; 4] {
    (reason as u32).to_ne_bytes()
}
