//! Bringing an image in.

mod choose;
mod docker;
mod documents;
mod layers;
mod name;
mod oci;
pub(super) mod remote;
mod root;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use oci_spec::image::ImageConfiguration;

use self::layers::Job;
use super::source::{self, Opened};
use super::store::Pins;
use super::{Digest, Image, ImageConfig, ImageError, ImageStore, Layer, Progress, Source};

/// Whoever imports, as the one whom layers come from; no registry has this name.
const FROM_DISK: &str = "";

/// What the documents of an image say, verified against each other.
struct Plan {
    /// Of the manifest, or of the config where there is no manifest.
    digest: Digest,
    /// Of the config.
    id: Digest,
    config: ImageConfig,
    architecture: String,
    created: Option<DateTime<Utc>>,
    /// The lowest layer first.
    jobs: Vec<Job<'static>>,
}

impl ImageStore {
    /// Brings an image in under `name`. Without one, a path gives its file name (`imported/<stem>:latest`) and a stream its
    /// digest. An image that had the name loses it.
    ///
    /// # Errors
    /// Whatever the input does wrong, or the host. Nothing of the image stays behind then.
    pub fn import(
        &self,
        source: Source<'_>,
        name: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Arc<Image>, ImageError> {
        self.import_with_config(source, name, None, progress)
    }

    /// As [`import`](Self::import), with a config for a plain root, which has none of its own; it is not used otherwise.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub fn import_with_config(
        &self,
        source: Source<'_>,
        name: Option<&str>,
        config: Option<ImageConfig>,
        progress: &dyn Progress,
    ) -> Result<Arc<Image>, ImageError> {
        let name = name::chosen(name, &source)?;
        let mut pins = Pins::new(self);
        progress.phase("reading the image");
        let (plan, done) = match source::open(source, self)? {
            Opened::Root(root) => {
                root::import(self, &mut pins, root, config.unwrap_or_else(ImageConfig::for_plain_root), progress)?
            }
            Opened::Oci(container) => {
                self.unpack(oci::read(&container, name.as_ref(), self.limits())?, &mut pins, progress)?
            }
            Opened::DockerSave(container) => {
                self.unpack(docker::read(&container, name.as_ref(), self.limits())?, &mut pins, progress)?
            }
        };
        progress.phase("writing to the disk");
        let name = name.map_or_else(|| name::by_digest(plan.digest), Ok)?;
        self.publish(plan.image(name.familiar(), &done.layers), done.fresh)
    }

    fn unpack(
        &self,
        mut plan: Plan,
        pins: &mut Pins<'_>,
        progress: &dyn Progress,
    ) -> Result<(Plan, layers::Done), ImageError> {
        let jobs = std::mem::take(&mut plan.jobs);
        let done = layers::unpack_all((self, FROM_DISK), pins, jobs, progress)?;
        Ok((plan, done))
    }
}

impl Plan {
    fn image(self, name: String, layers: &[Layer]) -> Image {
        let layers = stack(layers);
        Image {
            name,
            digest: self.digest.to_string(),
            index_digest: None,
            pulled: false,
            id: self.id.to_string(),
            config: self.config,
            size: layers.iter().map(|layer| layer.size).sum(),
            layers,
            architecture: self.architecture,
            created: self.created,
            imported_at: Utc::now(),
        }
    }
}

/// The layers as they are mounted. What lies below an opaque root is not to be seen, and overlayfs would not hide it. Of a
/// layer that comes twice, which overlayfs refuses, only the upper one counts: it hides the lower one entirely.
fn stack(layers: &[Layer]) -> Vec<Layer> {
    let mut stack: Vec<Layer> = Vec::new();
    for layer in layers {
        if layer.opaque {
            stack.clear();
        }
        stack.retain(|below| below.dir != layer.dir);
        stack.push(layer.clone());
    }
    stack
}

fn created(document: &ImageConfiguration) -> Option<DateTime<Utc>> {
    let text = document.created().as_ref()?;
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, opaque: bool) -> Layer {
        Layer { opaque, ..Layer::named(Digest::of(name.as_bytes())) }
    }

    #[test]
    fn a_layer_counts_once_and_an_opaque_root_hides_all_below() {
        let (a, b, c) = (layer("a", false), layer("b", false), layer("c", true));
        let stacked = |layers: &[&Layer]| stack(&layers.iter().copied().cloned().collect::<Vec<_>>());
        assert_eq!(stacked(&[&a, &b, &a]), [b.clone(), a.clone()]);
        assert_eq!(stacked(&[&a, &c, &b]), [c, b]);
    }
}
