//! The client of registries: the OCI distribution protocol over HTTP/1.1, with rustls.
//!
//! What a registry says is hostile input. It chooses neither where credentials go ([`token`](self) realms and redirects are
//! held against the registry's own host) nor which addresses of this host's networks are connected to (`resolver`), and every
//! document is bounded before it is read. hyper carries it rather than a ready-made registry client, because those send
//! credentials to whatever realm is named and follow redirects by themselves.

mod auth_file;
mod blob;
mod challenge;
mod config;
mod credentials;
mod document;
mod error;
mod network;
mod origin;
mod place;
mod redirect;
mod resolver;
mod retry;
mod session;
mod token;
mod transport;

pub(super) use self::blob::BlobReader;
pub use self::config::{Patience, RegistryConfig};
pub use self::credentials::Credentials;
pub(super) use self::document::Wanted;
pub use self::error::RegistryFailure;
pub(super) use self::session::Session;
pub(super) use self::transport::Transport;
