//! What `docker save` writes: `manifest.json`, a config, and layers that only the config vouches for.

use serde::Deserialize;

use super::documents::{json, parse_config};
use super::layers::Job;
use super::{Plan, created};
use crate::image::source::Container;
use crate::image::stream::Compression;
use crate::image::tar::shown;
use crate::image::{Digest, ImageConfig, ImageError, Reference, UnpackLimits};

const AT: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub fn read(container: &Container, name: Option<&Reference>, limits: &UnpackLimits) -> Result<Plan, ImageError> {
    let saved: Vec<Saved> = json(&container.document(AT, limits.manifest_bytes)?, AT)?;
    let saved = choose(&saved, name)?;
    let config = container.document(&saved.config, limits.config_bytes)?;
    let id = Digest::of(&config);
    check_name(&saved.config, id)?;
    let (document, diff_ids) = parse_config(&config, saved.layers.len(), limits)?;
    let jobs = saved.layers.iter().zip(diff_ids).map(|(path, diff_id)| job(container, path, diff_id));
    Ok(Plan {
        digest: id,
        id,
        config: ImageConfig::from_document(&document, limits)?,
        architecture: document.architecture().to_string(),
        created: created(&document),
        jobs: jobs.collect::<Result<_, _>>()?,
    })
}

/// The names inside only help to tell several images apart, if the caller asks for one of them.
fn choose<'s>(saved: &'s [Saved], name: Option<&Reference>) -> Result<&'s Saved, ImageError> {
    if let [one] = saved {
        return Ok(one);
    }
    let tags = |it: &Saved| it.repo_tags.clone().unwrap_or_default();
    let is_named =
        |it: &&Saved| tags(it).iter().any(|tag| tag.parse::<Reference>().ok().as_ref() == name && name.is_some());
    match saved.iter().filter(is_named).collect::<Vec<_>>().as_slice() {
        [one] => Ok(one),
        _ => {
            let all: Vec<_> = saved.iter().flat_map(tags).take(10).collect();
            let problem = format!("it holds {} images {all:?}; name the import like one of them", saved.len());
            Err(ImageError::bad(AT, problem))
        }
    }
}

/// A config is named by its digest; one that is named by another has been tampered with.
fn check_name(path: &str, id: Digest) -> Result<(), ImageError> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".json").unwrap_or(file);
    match format!("sha256:{stem}").parse::<Digest>() {
        Ok(named) if named != id => Err(ImageError::bad("the image's config", "its content is not what its name says")),
        _ => Ok(()),
    }
}

fn job(container: &Container, path: &str, diff_id: Digest) -> Result<Job<'static>, ImageError> {
    let at = format!("layer {}", shown(path.as_bytes()));
    let section = container.section(path)?;
    let start = section.peek(4).map_err(|error| ImageError::from_read(error, &at))?;
    let compression = Compression::detect(&start).map_err(|problem| ImageError::bad(&at, problem))?;
    let size = section.len();
    Ok(Job { at, diff_id: Some(diff_id), descriptor: None, open: Box::new(|| Box::new(section)), compression, size })
}
