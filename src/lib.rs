//! Bivouac runs programs in isolated sandboxes on a bare Linux host.

#[cfg(feature = "daemon")]
pub mod api;
pub mod model;

#[cfg(feature = "daemon")]
pub mod sandbox;

#[cfg(feature = "daemon")]
pub mod store;
