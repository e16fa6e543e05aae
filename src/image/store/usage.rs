//! What images share, and since when nobody has used them.

use chrono::{DateTime, Utc};

use super::ImageStore;
use super::index::Index;
use crate::image::{Image, ImageError};

impl ImageStore {
    /// Unpacked bytes of those layers that another image has as well.
    #[must_use]
    pub fn shared_size(&self, image: &Image) -> u64 {
        let index = self.read();
        let others: Vec<_> =
            index.all().filter(|other| other.name != image.name || other.digest != image.digest).collect();
        let is_shared = |dir: &str| others.iter().any(|other| other.layers.iter().any(|layer| layer.dir == dir));
        image.layers.iter().filter(|layer| is_shared(&layer.dir)).map(|layer| layer.size).sum()
    }

    /// Removes the images that have not been used since `before`, and that nobody holds. A use that is not known counts as the
    /// opening of this store, so that a restart spares images rather than costs them.
    pub fn prune_unused(&self, before: DateTime<Utc>) -> Vec<Image> {
        let unused = |image: &Image| self.last_use(&self.read(), image) < before;
        let candidates = self.list().into_iter().filter(|image| may_go(image) && unused(image));
        let mut removed = Vec::new();
        for image in candidates {
            match self.remove_if(&image.name, |index| self.last_use(index, &image) < before) {
                Ok(()) => removed.push(Image::clone(&image)),
                // Somebody took it meanwhile, or another removed it.
                Err(ImageError::InUse { .. } | ImageError::NotFound { .. }) => {}
                Err(error) => tracing::warn!(
                    image = image.name,
                    error = crate::model::with_causes(&error),
                    "cannot prune an image"
                ),
            }
        }
        removed
    }

    pub(super) fn last_use(&self, index: &Index, image: &Image) -> DateTime<Utc> {
        image.imported_at.max(index.used.get(&image.name).copied().unwrap_or(self.opened_at))
    }
}

/// What is built in stays: it is what runs when nothing else is there. What has no name goes with its last holder.
pub(super) fn may_go(image: &Image) -> bool {
    !image.name.is_empty() && !image.name.starts_with("bivouac/")
}
