//! An image, in memory and on disk.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Digest, ImageConfig};

/// An image that is here, ready to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The short form of its name with its tag (`debian:latest`); empty once another image has taken its name while a
    /// sandbox used it.
    pub name: String,
    /// Of its manifest, or of its config where it came without a manifest: `sha256:...`.
    pub digest: String,
    /// Of the index that it was chosen from when it was pulled.
    #[serde(default)]
    pub index_digest: Option<String>,
    /// It came from the registry that its name says, and can be fetched from there again.
    #[serde(default)]
    pub pulled: bool,
    /// Of its config: what Docker calls the image's id.
    pub id: String,
    pub config: ImageConfig,
    /// The lowest first, none twice.
    pub layers: Vec<Layer>,
    /// Unpacked bytes of all layers.
    pub size: u64,
    pub architecture: String,
    /// When the image says that it was made.
    pub created: Option<DateTime<Utc>>,
    pub imported_at: DateTime<Utc>,
}

/// One unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Name of its directory below [`ImageStore::layers_dir`](super::ImageStore::layers_dir).
    pub dir: String,
    pub diff_id: String,
    /// Unpacked bytes.
    pub size: u64,
    pub entries: u64,
    /// Device nodes that were left out.
    pub skipped_devices: u64,
    /// Extended attributes that were left out.
    pub dropped_xattrs: u64,
    /// Nothing of the layers below shows through; an image that has it has no layers below.
    pub opaque: bool,
    /// Of the unpacked tree; layers that an older version unpacked have none.
    #[serde(default)]
    pub checksum: Option<String>,
}

impl Layer {
    pub(super) fn named(diff_id: Digest) -> Self {
        Self {
            dir: diff_id.hex(),
            diff_id: diff_id.to_string(),
            size: 0,
            entries: 0,
            skipped_devices: 0,
            dropped_xattrs: 0,
            opaque: false,
            checksum: None,
        }
    }
}

/// The document on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of this format; a daemon leaves records of a later one alone.
    pub version: u32,
    pub image: Image,
}

pub(super) const VERSION: u32 = 1;
