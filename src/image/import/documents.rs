//! The JSON documents of an image: read by digest, and refused unless they are just what they are said to be.

use oci_spec::image::{Descriptor, ImageConfiguration};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::image::source::Container;
use crate::image::{Digest, ImageError, UnpackLimits};

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Index,
    Manifest,
}

const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// What a descriptor points at, if it is something that an image is made of.
pub fn kind(descriptor: &Descriptor) -> Option<Kind> {
    kind_of(descriptor.media_type().as_ref())
}

pub fn kind_of(media_type: &str) -> Option<Kind> {
    if INDEX_TYPES.contains(&media_type) {
        Some(Kind::Index)
    } else if MANIFEST_TYPES.contains(&media_type) {
        Some(Kind::Manifest)
    } else {
        None
    }
}

/// The keys that tell one kind from the other; their values cost no memory here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

/// Parses an index or manifest, after making sure that nobody could take it for the other.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], kind: Kind, at: &str) -> Result<T, ImageError> {
    let shape: Shape = json(bytes, at)?;
    let like_index = shape.manifests.is_some();
    let like_manifest = shape.layers.is_some() || shape.config.is_some() || shape.fs_layers.is_some();
    let says = shape.media_type.as_deref().map(kind_of);
    if like_index == like_manifest || like_index != (kind == Kind::Index) || says.is_some_and(|says| says != Some(kind))
    {
        let wanted = if kind == Kind::Index { "an image index" } else { "an image manifest" };
        return Err(ImageError::bad(at, format!("it is not {wanted}, or not only that")));
    }
    json(bytes, at)
}

/// serde_json refuses what is nested deeper than 128, and a key that comes twice in what is typed.
pub fn json<T: DeserializeOwned>(bytes: &[u8], at: &str) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::bad(at, format!("it is not the JSON expected: {error}")))
}

/// The digest and size of a descriptor. Its `urls` and `data` are ignored: content comes from the container alone.
pub fn expected(descriptor: &Descriptor) -> Result<(Digest, u64), ImageError> {
    Ok((descriptor.digest().to_string().parse()?, descriptor.size()))
}

pub fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The document that the descriptor points at, verified.
pub fn fetch(container: &Container, descriptor: &Descriptor, limit: u64) -> Result<(Digest, Vec<u8>), ImageError> {
    let (digest, size) = expected(descriptor)?;
    let at = format!("the document {digest}");
    if size > limit {
        return Err(ImageError::TooLarge { at, what: "bytes of the document", limit });
    }
    let bytes = container.document(&blob_path(digest), limit)?;
    if bytes.len() as u64 != size {
        return Err(ImageError::bad(at, format!("it has {} bytes, its descriptor says {size}", bytes.len())));
    }
    if Digest::of(&bytes) != digest {
        return Err(ImageError::bad(at, "its content has another digest"));
    }
    Ok((digest, bytes))
}

/// Parses a config and checks it against this host and against the number of layers. Returns the layers' digests.
pub fn parse_config(
    bytes: &[u8],
    layers: usize,
    limits: &UnpackLimits,
) -> Result<(ImageConfiguration, Vec<Digest>), ImageError> {
    let at = "the image's config";
    let document: ImageConfiguration = json(bytes, at)?;
    super::choose::check_platform(&document)?;
    let diff_ids = document.rootfs().diff_ids();
    if document.rootfs().typ() != "layers" || diff_ids.len() != layers {
        let problem = format!("it names {} layers, the manifest {layers}", diff_ids.len());
        return Err(ImageError::bad(at, problem));
    }
    if layers == 0 {
        return Err(ImageError::bad(at, "it has no layers"));
    }
    if layers > limits.layers {
        return Err(ImageError::TooLarge { at: at.into(), what: "layers", limit: limits.layers as u64 });
    }
    let diff_ids = diff_ids.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    Ok((document, diff_ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses(text: &str, kind: Kind) -> bool {
        parse::<serde::de::IgnoredAny>(text.as_bytes(), kind, "x").is_ok()
    }

    #[test]
    fn a_document_is_one_thing() {
        assert!(parses(r#"{"manifests":[]}"#, Kind::Index));
        assert!(parses(r#"{"config":{},"layers":[]}"#, Kind::Manifest));
        assert!(!parses(r#"{"manifests":[],"layers":[]}"#, Kind::Index));
        assert!(!parses(r#"{"manifests":[],"layers":[]}"#, Kind::Manifest));
        assert!(!parses(r#"{"manifests":[],"config":{}}"#, Kind::Index));
        assert!(!parses(r#"{"layers":[]}"#, Kind::Index));
        assert!(!parses(r#"{"manifests":[]}"#, Kind::Manifest));
        assert!(!parses("{}", Kind::Manifest));
        assert!(!parses(r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#, Kind::Index));
        assert!(!parses(r#"{"mediaType":"text/html","manifests":[]}"#, Kind::Index));
        assert!(!parses(&"[".repeat(100_000), Kind::Index));
        assert!(!parses(&format!(r#"{{"manifests":{}}}"#, "[".repeat(100_000)), Kind::Index));
    }
}
