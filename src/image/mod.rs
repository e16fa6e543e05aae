//! Images: bringing them in from disk, keeping their layers, finding them in microseconds.
//!
//! An image comes in as an OCI layout (a directory or an archive of it), a docker-save archive or a plain root tar, each
//! file also compressed with gzip or zstd; what it is shows in its content. Each layer is unpacked once, into a directory
//! named by the digest of its tar stream, in the form that overlayfs mounts as a lower layer. Everything in the input is
//! hostile until it is verified: digests and sizes against their descriptors, the tar stream against the config, the config
//! as mere strings. The name of an image comes from the caller, never from the input.
//!
//! Reading goes `source` (what is it, where are its parts) -> `stream` (decompress and hash) -> `tar` (entries) ->
//! `unpack` (files), and `store` publishes what came out whole.

mod config;
mod digest;
mod error;
mod import;
mod limits;
mod progress;
mod record;
mod reference;
mod source;
mod store;
mod stream;
mod tar;
mod unpack;

pub use config::ImageConfig;
pub use digest::Digest;
pub use error::ImageError;
pub use limits::UnpackLimits;
pub use progress::{NoProgress, Progress};
pub use record::{Image, Layer};
pub use reference::Reference;
pub use source::Source;
pub use store::ImageStore;
