//! The packet filter (`nf_tables`): the rules for all sandboxes, and the elements of each.

mod element;
mod expression;
mod ruleset;
mod table;

pub use element::Member;
pub use ruleset::Sandboxes;
pub use table::{CannotFilter, Table};
