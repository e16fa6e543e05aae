//! The daemon: its configuration, what it holds of the process and the host, its listeners, and its run.
//!
//! Floor 6. [`run`] reads as the story of a start.

mod base;
mod config;
mod failure;
mod keep;
mod listen;
mod lock;
mod logging;
mod on_host;
mod parts;
mod patience;
mod process;
mod run;
mod serve;
mod stop;

pub use config::{Config, network, state_dir};
pub use failure::StartFailure;
pub use run::main;
