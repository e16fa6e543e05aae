//! The command line's client: one verb a file, each a few calls of the API and what is printed of the answers.
//!
//! Floor 5. It knows the daemon only through HTTP, as every other client does; `doctor` alone looks at the host itself.

mod address;
pub mod attach;
mod attend;
mod client;
mod command;
pub mod cp;
pub mod create;
pub mod doctor;
mod duration;
pub mod exec;
mod failure;
mod find;
mod frames;
pub mod get;
pub mod image;
mod lines;
pub mod list;
pub mod logs;
pub mod pause;
mod remote;
pub mod renew;
pub mod resume;
pub mod rm;
pub mod run;
mod screen;
mod signals;
pub mod stats;
mod stream;
mod take_part;
mod terminal;
mod websocket;
mod wire;

pub use address::{Address, InvalidAddress};
pub use client::{Call, Client};
pub use duration::parse as parse_duration;
pub use failure::Failure;
pub use find::id as find_id;
pub use remote::Remote;

/// Tells the user what failed and what to do, in one line on standard error.
pub fn complain(failure: &Failure) {
    screen::note(&failure.line());
}
