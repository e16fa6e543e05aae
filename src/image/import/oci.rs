//! An OCI image layout: index, manifest, config and layers, each verified against the one before.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::documents::{Kind, blob_path, expected, fetch, json, kind, parse, parse_config};
use super::layers::Job;
use super::{Plan, choose, created};
use crate::image::source::Container;
use crate::image::stream::Compression;
use crate::image::{Digest, ImageConfig, ImageError, Reference, UnpackLimits};

/// An index may point at an index, as layouts of several tags do; nobody needs more than this.
pub const INDEX_DEPTH: usize = 2;

const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutVersion {
    image_layout_version: String,
}

pub fn read(container: &Container, name: Option<&Reference>, limits: &UnpackLimits) -> Result<Plan, ImageError> {
    let version: LayoutVersion = json(&container.document("oci-layout", limits.manifest_bytes)?, "oci-layout")?;
    if !version.image_layout_version.starts_with("1.") {
        return Err(ImageError::bad(
            "oci-layout",
            format!("version {:.20} is not supported", version.image_layout_version),
        ));
    }
    let index = container.document("index.json", limits.manifest_bytes)?;
    let (digest, manifest) = find_manifest(container, &index, name, limits)?;
    if kind_of_config(manifest.config()).is_none() {
        return Err(ImageError::bad("the manifest", "it is the manifest of something else than a container image"));
    }
    let (id, config) = fetch(container, manifest.config(), limits.config_bytes)?;
    let (document, diff_ids) = parse_config(&config, manifest.layers().len(), limits)?;
    let jobs = manifest.layers().iter().zip(diff_ids).map(|(layer, diff_id)| job(container, layer, diff_id));
    Ok(Plan {
        digest,
        id,
        config: ImageConfig::from_document(&document, limits)?,
        architecture: document.architecture().to_string(),
        created: created(&document),
        jobs: jobs.collect::<Result<_, _>>()?,
    })
}

pub(super) fn kind_of_config(descriptor: &Descriptor) -> Option<()> {
    CONFIG_TYPES.contains(&descriptor.media_type().as_ref()).then_some(())
}

/// Goes down from the index to the manifest for this host.
fn find_manifest(
    container: &Container,
    index: &[u8],
    name: Option<&Reference>,
    limits: &UnpackLimits,
) -> Result<(Digest, ImageManifest), ImageError> {
    let mut index: ImageIndex = parse(index, Kind::Index, "index.json")?;
    for _ in 0..=INDEX_DEPTH {
        let chosen = choose::choose(index.manifests(), name)?;
        let (digest, bytes) = fetch(container, chosen, limits.manifest_bytes)?;
        let at = format!("the document {digest}");
        match kind(chosen) {
            Some(Kind::Index) => index = parse(&bytes, Kind::Index, &at)?,
            _ => return Ok((digest, parse(&bytes, Kind::Manifest, &at)?)),
        }
    }
    Err(ImageError::bad("the image index", "indexes are nested too deep"))
}

fn job(container: &Container, descriptor: &Descriptor, diff_id: Digest) -> Result<Job<'static>, ImageError> {
    let (digest, size) = expected(descriptor)?;
    let at = format!("layer {digest}");
    let section = container.section(&blob_path(digest))?;
    if section.len() != size {
        return Err(ImageError::bad(at, format!("it has {} bytes, its manifest says {size}", section.len())));
    }
    let start = section.peek(4).map_err(|error| ImageError::from_read(error, &at))?;
    let found = Compression::detect(&start).map_err(|problem| ImageError::bad(&at, problem))?;
    if said(descriptor.media_type().as_ref()) != Some(found) {
        let problem = format!("its media type {:.100} does not fit its content", descriptor.media_type());
        return Err(ImageError::bad(at, problem));
    }
    Ok(Job {
        at,
        diff_id: Some(diff_id),
        descriptor: Some((digest, size)),
        open: Box::new(|| Box::new(section)),
        compression: found,
        size,
    })
}

/// How the media type of a layer says that it is compressed.
pub(super) fn said(media_type: &str) -> Option<Compression> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Some(Compression::None),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Some(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Some(Compression::Zstd),
        _ => None,
    }
}
