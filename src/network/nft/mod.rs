//! The packet filter (`nf_tables`): the rules for all sandboxes, and the elements of each.

mod bound;
pub mod doh;
mod element;
mod entry;
mod expression;
mod foreign;
mod near;
#[cfg(test)]
pub mod on_trial;
mod others;
pub mod policed;
mod refusal;
mod ruleset;
mod table;
mod together;
mod traffic;

pub use element::Member;
pub use entry::Entry;
pub use foreign::touched;
pub use others::{Closed, closed};
pub use ruleset::Sandboxes;
pub use table::{CannotFilter, Table};
