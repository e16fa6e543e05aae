//! The network of sandboxes: an interface for each, and the rules about what may pass.
//!
//! Every sandbox has a network namespace of its own, but one that asks for the host's, which has nothing of all this. In the mode
//! `bridge` a pair of virtual interfaces leads out of it, with an IPv4 and an IPv6 address at its end inside and a route to exactly
//! these at the end of the host: there is no link that two sandboxes share, and nobody to ask for a hardware address (both ends
//! have the same one, and neither speaks ARP or neighbour discovery). What goes out is translated to the host's address.
//!
//! What may pass is decided by an nftables table of our own, of the family `inet`, so that IPv4 and IPv6 have the same rules. The
//! rules stand once for all sandboxes; what belongs to one are elements of sets, so the five hundredth costs what the second
//! did. They see each packet before anything else of the host does, and a packet from an interface that no element speaks of
//! is dropped. The table stays when the daemon ends.
//!
//! Sandboxes that ask for the same network by its name reach each other (`together`); all others do not.
//!
//! A sandbox may have a policy (`egress`), by which the resolver answers and the same rules look into other sets.
//!
//! Netlink is spoken here directly: the crates of this field each know a part of it (links, or tables without the expressions
//! that are used here, or connections), and none of them all; a message is a header and attributes within attributes.
//!
//! Floor 2. Nothing here knows what a sandbox is, beyond its id and its network namespace.

mod address;
mod alias;
mod auto;
mod bridge;
mod config;
mod conntrack;
pub mod doctor;
mod egress;
pub mod files;
mod forwarding;
mod host;
mod link;
mod names;
mod near;
mod netlink;
mod nft;
mod overlap;
mod queue;
mod range;
mod reaper;
mod resolver;
mod together;
mod watch;

pub use address::Addresses;
pub use auto::{decide, keep, withdraw};
pub use bridge::{Bridge, BridgeError};
pub use config::{NetworkConfig, Wanted, parse_pool};
pub use resolver::{Resolver, ResolverError};
