//! Making sandboxes on this host: namespaces, roots, cgroups, and the launcher that starts them.
//!
//! Floor 2. [`launch`] and [`namespaces`] are the two jobs of `bivouac-init` outside of a sandbox, and are built
//! without tokio; the rest is the daemon's side.

pub mod launch;
pub mod namespaces;

#[cfg(feature = "daemon")]
pub mod about;
#[cfg(feature = "daemon")]
pub mod cgroup;
#[cfg(feature = "daemon")]
pub mod disk;
#[cfg(feature = "daemon")]
pub mod doctor;
#[cfg(feature = "daemon")]
pub mod idrange;
#[cfg(feature = "daemon")]
pub mod launcher;
#[cfg(feature = "daemon")]
pub mod plan;
#[cfg(feature = "daemon")]
pub mod root;
#[cfg(feature = "daemon")]
pub mod slots;
#[cfg(feature = "daemon")]
pub mod sockets;
