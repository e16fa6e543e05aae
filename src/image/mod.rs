//! Images: bringing them in from disk and from registries, keeping their layers, finding them in microseconds.
//!
//! An image comes in as an OCI layout (a directory or an archive of it), a docker-save archive or a plain root tar, each
//! file also compressed with gzip or zstd; what it is shows in its content. Each layer is unpacked once, into a directory
//! named by the digest of its tar stream, in the form that overlayfs mounts as a lower layer. Everything in the input is
//! hostile until it is verified: digests and sizes against their descriptors, the tar stream against the config, the config
//! as mere strings. The name of an image comes from the caller, never from the input.
//!
//! From a registry an image comes by `pull`, over the connections of `registry`: each layer is unpacked while it arrives, and
//! hashed on the way, so nothing is written twice.
//!
//! Reading goes `source` (what is it, where are its parts) -> `stream` (decompress and hash) -> `tar` (entries) ->
//! `unpack` (files), and `store` publishes what came out whole. `pack` goes the other way, for `export`.

mod config;
mod digest;
mod error;
mod export;
mod import;
mod limits;
mod pack;
mod progress;
mod pull;
mod record;
mod reference;
mod registry;
mod source;
mod store;
mod stream;
mod tar;
mod turns;
mod unpack;

pub use config::ImageConfig;
pub use digest::Digest;
pub use error::ImageError;
pub use export::Exporting;
pub use limits::UnpackLimits;
pub use progress::{NoProgress, Progress};
pub use pull::{Policy, PullRequest, PullState, Puller, Pulling};
pub use record::{Image, Layer};
pub use reference::Reference;
pub use registry::{Credentials, Patience, RegistryConfig, RegistryFailure};
pub use source::Source;
pub use store::{ImageStore, KeepPolicy, MinFree, Room, Verdict, Verified};
