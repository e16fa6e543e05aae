//! The real daemon on real sandboxes, from outside: every test starts a daemon of its own in a scratch directory, with a
//! cgroup of its own, and at the end looks whether anything is left of it on the host.

mod about;
mod bad_input;
mod chaos;
mod cli;
mod clients;
mod code;
mod cp;
mod debian;
mod disk;
mod exec;
mod exec_cli;
mod files;
mod harness;
mod hostile_image;
mod hostile_load;
mod isolation;
mod lifecycle;
mod limits;
mod network;
mod network_bounds;
mod network_host;
mod network_mode;
mod network_named;
mod network_policy;
mod network_proofs;
mod ports;
mod project;
mod pty;
mod pull;
mod restart;
mod usage;
