//! What images share, and since when nobody has used them.

use chrono::{DateTime, Utc};

use super::ImageStore;
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

    /// Removes the images that have not been used since `before`, and that nobody holds. Uses before this store was opened are not
    /// known: then its opening counts, so that a restart spares images rather than costs them.
    pub fn prune_unused(&self, before: DateTime<Utc>) -> Vec<Image> {
        let unused = |image: &Image| {
            let used = self.read().used.get(&image.name).copied();
            image.imported_at.max(used.unwrap_or(self.opened_at)) < before
        };
        // What is built in stays: it is what runs when nothing else is there.
        let may_go = |image: &Image| !image.name.is_empty() && !image.name.starts_with("bivouac/");
        let candidates = self.list().into_iter().filter(|image| may_go(image) && unused(image));
        let mut removed = Vec::new();
        for image in candidates {
            match self.remove_if(&image.name, |index| index.used.get(&image.name).is_none_or(|used| *used < before)) {
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
}
