//! An image whose documents and layers come from a registry. What they say is verified here as for a layout on disk; the
//! fetching is the caller's.

use std::sync::Arc;

use oci_spec::image::{ImageIndex, ImageManifest};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::documents::{Kind, expected, json, kind_of, parse, parse_config};
pub use super::layers::Open;
use super::layers::{self, Job};
use super::oci::{kind_of_config, said};
use super::{Pins, Plan, choose, created};
use crate::image::stream::Compression;
use crate::image::{Digest, Image, ImageConfig, ImageError, ImageStore, Progress, Reference, UnpackLimits};

pub use super::oci::INDEX_DEPTH;

/// What a document from a registry turned out to be.
pub enum Manifest {
    /// The manifest to fetch next.
    Index(Digest),
    Image(Parts),
}

/// What a manifest names.
pub struct Parts {
    pub digest: Digest,
    pub config: Digest,
    pub layers: Vec<Blob>,
}

/// A layer as the manifest describes it. Its `urls` and `data` are ignored.
#[derive(Clone, Copy)]
pub struct Blob {
    pub digest: Digest,
    pub size: u64,
    compression: Compression,
}

#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default, rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
}

/// Reads an index or a manifest. The media type that the registry gives must be what the document says of itself.
pub fn read(
    bytes: &[u8],
    digest: Digest,
    media_type: Option<&str>,
    name: &Reference,
    limits: &UnpackLimits,
) -> Result<Manifest, ImageError> {
    let at = format!("the manifest {digest}");
    let shape: Shape = json(bytes, &at)?;
    if shape.schema_version == Some(1) || shape.fs_layers.is_some() {
        let problem = "it has the first schema of Docker, which is no longer supported; push the image again";
        return Err(ImageError::bad(at, problem));
    }
    let looks = if shape.manifests.is_some() { Kind::Index } else { Kind::Manifest };
    if media_type.and_then(kind_of).is_some_and(|served| served != looks) {
        return Err(ImageError::bad(at, "the registry says that it is something else than it is"));
    }
    if looks == Kind::Index {
        let index: ImageIndex = parse(bytes, Kind::Index, &at)?;
        let (next, _) = expected(choose::choose(index.manifests(), Some(name))?)?;
        return Ok(Manifest::Index(next));
    }
    let manifest: ImageManifest = parse(bytes, Kind::Manifest, &at)?;
    if kind_of_config(manifest.config()).is_none() {
        return Err(ImageError::bad(at, "it is the manifest of something else than a container image"));
    }
    if manifest.layers().len() > limits.layers {
        return Err(ImageError::TooLarge { at, what: "layers", limit: limits.layers as u64 });
    }
    let blob = |descriptor| -> Result<Blob, ImageError> {
        let (digest, size) = expected(descriptor)?;
        let media_type = descriptor.media_type().as_ref();
        let unknown =
            || ImageError::bad(format!("layer {digest}"), format!("its media type {media_type:.100} is not supported"));
        Ok(Blob { digest, size, compression: said(media_type).ok_or_else(unknown)? })
    };
    let layers = manifest.layers().iter().map(blob).collect::<Result<_, _>>()?;
    Ok(Manifest::Image(Parts { digest, config: expected(manifest.config())?.0, layers }))
}

/// What the documents of an image say that its parts are.
pub struct Described {
    plan: Plan,
    layers: Vec<(Blob, Digest)>,
}

/// Reads the config and holds it against the manifest.
pub fn described(parts: Parts, config: &[u8], limits: &UnpackLimits) -> Result<Described, ImageError> {
    let (document, diff_ids) = parse_config(config, parts.layers.len(), limits)?;
    let plan = Plan {
        digest: parts.digest,
        id: parts.config,
        config: ImageConfig::from_document(&document, limits)?,
        architecture: document.architecture().to_string(),
        created: created(&document),
        jobs: Vec::new(),
    };
    Ok(Described { plan, layers: parts.layers.into_iter().zip(diff_ids).collect() })
}

impl ImageStore {
    /// Brings in the image that was described; `open` gives the bytes of a layer, and is asked only for those that are not here.
    /// Blocks.
    pub(in crate::image) fn bring_in(
        &self,
        name: &Reference,
        index: Option<Digest>,
        Described { plan, layers }: Described,
        open: impl Fn(&Blob) -> Open<'static>,
        progress: &dyn Progress,
    ) -> Result<Arc<Image>, ImageError> {
        let job = |(blob, diff_id): (Blob, Digest)| Job {
            at: format!("layer {}", blob.digest),
            diff_id: Some(diff_id),
            descriptor: Some((blob.digest, blob.size)),
            open: open(&blob),
            compression: blob.compression,
            size: blob.size,
        };
        let jobs = layers.into_iter().map(job).collect();
        let mut pins = Pins::new(self);
        let done = layers::unpack_all((self, name.host()), &mut pins, jobs, progress)?;
        progress.phase("writing to the disk");
        let image = plan.image(name.familiar(), &done.layers);
        let index_digest = index.map(|index| index.to_string());
        self.publish(Image { index_digest, pulled: true, ..image }, done.fresh)
    }
}
