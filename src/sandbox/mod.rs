//! The life of a sandbox: its states, who may change them, and who remembers them.
//!
//! Floor 4: the only place that knows the order of things.

mod host;
pub mod logs;

pub use host::{End, Host, HostError, IdBase, Launched, Life};
