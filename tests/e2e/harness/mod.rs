//! What the tests need: a daemon, a client, an image, a look at the host, and a way to wait.

mod able;
pub mod counter;
mod daemon;
mod debian;
mod http;
mod image;
mod oracle;
mod sandbox;
mod volume;
pub mod wait;
mod websocket;
pub mod world;
mod zone;

pub use able::{cgroup_mounts, installed, unified};
pub use counter::Counters;
pub use daemon::Daemon;
pub use debian::{DEBIAN, PLOTS};
pub use http::{Client, Response};
pub use image::{IMAGE, archive, probe};
pub use oracle::{Snapshot, programs_of};
pub use sandbox::Sandbox;
pub use volume::Kind;
pub use wait::until;
pub use world::{Namespace, World};
pub use zone::Zone;
