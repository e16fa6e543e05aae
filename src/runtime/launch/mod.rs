//! The launcher: a small, single-threaded program that is the parent of every sandbox's first process.
//!
//! It outlives the daemon. It keeps two descriptors for each sandbox (the pidfd of PID 1 and the daemon's end of its
//! control socket) and hands them out again to a daemon that comes back. It reads no plan and no byte that an image or a
//! sandbox has chosen: the plan is read by the child, which is the one to suffer from it.

mod held;
mod room;
mod sealed;
mod server;

pub use sealed::{VERB as SEALED_VERB, become_copy};
pub use server::run;
