//! The HTTP API: the OpenSandbox lifecycle protocol, and the few routes of our own beside it.
//!
//! Floor 5. A request passes `request_id`, then [`auth`], then the one page of `router.rs`, then the file of its verb. Bodies
//! are read and checked completely before anything is done; from a valid request on, the answer is [`crate::sandbox`]'s, and
//! `error` alone puts refusals into HTTP. Wire types are in `types`, and `openapi.json` beside this file describes
//! all of it.
//!
//! There are no CORS headers, on purpose: a web page must not reach a daemon on its reader's machine, least of all one
//! that needs no key on a loopback address.

mod absent;
pub mod access;
pub mod auth;
mod credentials;
mod diagnostics;
mod egress;
mod endpoints;
mod error;
mod execd;
mod extract;
mod fields;
mod images;
mod json;
mod proxy;
mod query;
mod request_id;
mod router;
mod sandboxes;
mod state;
mod stream;
mod system;
mod time;
mod types;

pub use auth::Auth;
pub use proxy::{Apart, Bypass, HalfClose, Held, Peer, Socket, TakeApart, Wire};
pub use router::router;
pub use state::{ApiState, PROXY_TIMEOUT};
