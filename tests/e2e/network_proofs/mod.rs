//! What is promised of the network and takes many sandboxes, or a look at the host.

mod connections;
mod first;
mod moments;
