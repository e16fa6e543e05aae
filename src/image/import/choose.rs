//! Which of several images to take: the one for this host.

use oci_spec::image::{Descriptor, ImageConfiguration};

use super::documents::kind;
use crate::image::{ImageError, Reference};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// This host's architecture, as images name it.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

pub fn check_platform(document: &ImageConfiguration) -> Result<(), ImageError> {
    let (os, architecture) = (document.os().to_string(), document.architecture().to_string());
    if os == "linux" && architecture == host_architecture() {
        return Ok(());
    }
    Err(ImageError::WrongPlatform { found: format!("{os}/{architecture}"), host: host() })
}

fn host() -> String {
    format!("linux/{}", host_architecture())
}

/// The one descriptor of an index that fits this host; where that leaves several, the one whose tag the caller's name has.
pub fn choose<'i>(descriptors: &'i [Descriptor], name: Option<&Reference>) -> Result<&'i Descriptor, ImageError> {
    let images: Vec<_> = descriptors.iter().filter(|it| kind(it).is_some() && it.artifact_type().is_none()).collect();
    let exact: Vec<_> = images.iter().copied().filter(|it| platform(it).is_some_and(|it| it == host())).collect();
    let unsaid: Vec<_> = images.iter().copied().filter(|it| it.platform().is_none()).collect();
    let fitting = if exact.is_empty() { unsaid } else { exact };
    match (distinct(&fitting), images.iter().find_map(|it| platform(it))) {
        (Some(one), _) => Ok(one),
        (None, Some(found)) if fitting.is_empty() => Err(ImageError::WrongPlatform { found, host: host() }),
        (None, None) if fitting.is_empty() => Err(ImageError::bad("the image index", "it holds no image")),
        _ => by_variant(&fitting).or_else(|| by_tag(&fitting, name)).ok_or_else(|| too_many(&fitting)),
    }
}

fn platform(descriptor: &Descriptor) -> Option<String> {
    let platform = descriptor.platform().as_ref()?;
    Some(format!("{}/{}", platform.os(), platform.architecture()))
}

/// The first, if all have the same content.
fn distinct<'i>(descriptors: &[&'i Descriptor]) -> Option<&'i Descriptor> {
    let first = *descriptors.first()?;
    descriptors.iter().all(|it| it.digest() == first.digest()).then_some(first)
}

/// Of several variants of an architecture, the one that runs everywhere.
fn by_variant<'i>(descriptors: &[&'i Descriptor]) -> Option<&'i Descriptor> {
    let variant = |it: &&'i Descriptor| it.platform().as_ref().and_then(|it| it.variant().clone());
    if !descriptors.iter().any(|it| variant(it).is_some()) {
        return None;
    }
    let everywhere = |it: &&'i Descriptor| matches!(variant(it).as_deref(), None | Some("v1" | "v8"));
    distinct(&descriptors.iter().copied().filter(everywhere).collect::<Vec<_>>())
}

fn by_tag<'i>(descriptors: &[&'i Descriptor], name: Option<&Reference>) -> Option<&'i Descriptor> {
    let tag = name?.tag()?;
    let has_tag = |it: &&'i Descriptor| ref_name(it).is_some_and(|it| it.rsplit(':').next() == Some(tag));
    distinct(&descriptors.iter().copied().filter(has_tag).collect::<Vec<_>>())
}

fn ref_name(descriptor: &Descriptor) -> Option<&String> {
    descriptor.annotations().as_ref()?.get(REF_NAME)
}

fn too_many(descriptors: &[&Descriptor]) -> ImageError {
    let names: Vec<_> = descriptors.iter().filter_map(|it| ref_name(it)).take(10).collect();
    let count = descriptors.len();
    let problem =
        format!("it holds {count} images for this host (tags {names:?}); name the import with the tag of one");
    ImageError::bad("the image index", problem)
}
