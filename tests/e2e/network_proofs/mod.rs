//! What is promised of the network and takes many sandboxes, or a clock.

mod connections;
mod first;
mod moments;
mod pace;
