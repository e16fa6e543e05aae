//! Removing images, and the layers that nobody refers to afterwards.

use std::sync::Arc;

use super::ImageStore;
use super::index::Index;
use crate::image::{Image, ImageError, Reference};

impl ImageStore {
    /// Removes the image and the layers that no other image needs.
    ///
    /// # Errors
    /// [`ImageError::InUse`] while somebody holds it; [`ImageError::NotFound`]; [`ImageError::Ambiguous`] for a digest that
    /// several names share.
    pub fn remove(&self, name: &str) -> Result<(), ImageError> {
        self.remove_if(name, |_| true)
    }

    /// As [`remove`](Self::remove), if `still` says so under the lock; otherwise as if it were not there.
    pub(super) fn remove_if(&self, name: &str, still: impl FnOnce(&Index) -> bool) -> Result<(), ImageError> {
        {
            let _changing = self.changing();
            let image = self.take(name, still)?;
            if let Err(error) = self.remove_record(&image) {
                self.write().insert(image);
                return Err(error);
            }
        }
        self.collect();
        Ok(())
    }

    /// Takes the image out of the index, so that nobody can come to hold it while its record goes.
    fn take(&self, name: &str, still: impl FnOnce(&Index) -> bool) -> Result<Arc<Image>, ImageError> {
        let mut index = self.write();
        let image = index.find(name)?;
        if !still(&index) {
            return Err(ImageError::NotFound { name: name.to_owned() });
        }
        let equal = index.all().filter(|other| other.digest == image.digest).count();
        let by_name = name.split('@').next().is_some_and(|name| is_name_of(name, &image));
        if equal > 1 && !by_name {
            let problem = format!("{equal} names share this content; remove them by name");
            return Err(ImageError::Ambiguous { name: name.to_owned(), problem });
        }
        if let Some(by) = index.holders(&image).next() {
            return Err(ImageError::InUse { name: image.name.clone(), by: by.clone() });
        }
        index.forget(&image);
        Ok(image)
    }

    /// Removes the images that have lost their name and that nobody holds, and the damaged layers that nobody can have mounted;
    /// returns the digests of the images.
    pub fn prune(&self) -> Vec<String> {
        let unnamed = self.read().unnamed.clone();
        let removed =
            unnamed.iter().filter(|image| self.drop_if_unneeded(image)).map(|image| image.digest.clone()).collect();
        self.collect();
        self.clear_quarantine();
        removed
    }

    /// Removes an image without a name, unless somebody holds it.
    pub(super) fn drop_if_unneeded(&self, image: &Arc<Image>) -> bool {
        let _changing = self.changing();
        {
            let mut index = self.write();
            if index.holders(image).next().is_some() {
                return false;
            }
            index.forget(image);
        }
        if let Err(error) = self.remove_record(image) {
            tracing::warn!(digest = image.digest, %error, "cannot remove the record of an image without a name");
        }
        true
    }

    /// Removes the layers that nobody needs. They leave `layers/` under the lock, and the disk after it.
    pub(super) fn collect(&self) {
        let discarded: Vec<_> = {
            let _changing = self.changing();
            let unneeded = self.write().take_unneeded_layers();
            unneeded.iter().filter_map(|dir| self.discard_layer(dir)).collect()
        };
        drop(discarded);
    }
}

impl Index {
    fn forget(&mut self, image: &Image) {
        self.used.remove(&image.name);
        self.named.retain(|_, other| !(other.name == image.name && other.digest == image.digest));
        self.unnamed.retain(|other| !(image.name.is_empty() && other.digest == image.digest));
    }
}

fn is_name_of(text: &str, image: &Image) -> bool {
    text.parse::<Reference>().is_ok_and(|name| name.familiar() == image.name)
}
