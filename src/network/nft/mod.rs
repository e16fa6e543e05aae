//! The packet filter (`nf_tables`): the rules for all sandboxes, and the elements of each.

pub mod doh;
mod element;
mod entry;
mod expression;
pub mod policed;
mod ruleset;
mod table;

pub use element::Member;
pub use entry::Entry;
pub use ruleset::Sandboxes;
pub use table::{CannotFilter, Table};
