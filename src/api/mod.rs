//! The HTTP API: the OpenSandbox lifecycle protocol and the few routes of our own beside it.
pub mod auth;
mod error;
mod fields;
mod json;
mod query;
mod request_id;
mod sandboxes;
mod time;
