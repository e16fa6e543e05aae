//! Where the ports of a sandbox are reached.

mod address;
mod get;

pub use get::get;
