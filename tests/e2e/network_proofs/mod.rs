//! What is promised of the network and takes many sandboxes, a clock, or the tools of those who want out.

mod connections;
mod first;
mod moments;
mod pace;
mod tunnels;
