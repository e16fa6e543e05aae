//! The routes of sandboxes, a file for each verb.

pub mod spec;
