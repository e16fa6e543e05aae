//! Bivouac runs programs in isolated sandboxes on a bare Linux host.

#[cfg(feature = "daemon")]
pub mod api;
pub mod model;
pub mod sys;

#[cfg(feature = "daemon")]
pub mod image;
#[cfg(feature = "daemon")]
pub mod sandbox;

#[cfg(feature = "daemon")]
pub mod store;
