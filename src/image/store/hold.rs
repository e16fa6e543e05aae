//! Who needs an image.

use std::sync::Arc;

use chrono::Utc;

use super::ImageStore;
use super::index::Index;
use crate::image::{Image, ImageError};

impl ImageStore {
    /// A sandbox (`by` is its id) mounts the layers of `image`: they stay until [`release`](Self::release).
    ///
    /// Holds live in memory. After a restart, [`hold_again`](Self::hold_again) by the recorded digest (`sha256:...`), not by
    /// the name, which may have been given to another image meanwhile; then call [`prune`](Self::prune).
    pub fn hold(&self, image: &Arc<Image>, by: &str) {
        self.write().hold(image, by);
    }

    /// [`find`](Self::find) and [`hold`](Self::hold) in one step, so that nobody can remove the image in between.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_and_hold(&self, name: &str, by: &str) -> Result<Arc<Image>, ImageError> {
        let mut index = self.write();
        let image = index.find_whole(name)?;
        index.hold(&image, by);
        Ok(image)
    }

    /// For a sandbox that runs on the image already, whatever was found out about it since.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    pub fn hold_again(&self, name: &str, by: &str) -> Result<Arc<Image>, ImageError> {
        let mut index = self.write();
        let image = index.find(name)?;
        index.hold(&image, by);
        Ok(image)
    }

    /// The sandbox is gone. An image that lost its name while the sandbox used it goes with the last of its holders.
    pub fn release(&self, by: &str) {
        let (released, all_stay) = {
            let mut index = self.write();
            let released = index.holds.remove(by).unwrap_or_default();
            for image in &released {
                index.used.insert(image.name.clone(), Utc::now());
            }
            let all_stay = released.iter().all(|image| !image.name.is_empty() && index.has(image));
            (released, all_stay)
        };
        // The usual case, on the path of every delete: nothing to do on the disk.
        if all_stay {
            return;
        }
        for image in released.iter().filter(|image| image.name.is_empty()) {
            self.drop_if_unneeded(image);
        }
        self.collect();
    }

    /// The image that was last held by this sandbox.
    #[must_use]
    pub fn held(&self, by: &str) -> Option<Arc<Image>> {
        self.read().holds.get(by).and_then(|held| held.last()).cloned()
    }

    /// The ids that hold this image, for listings.
    #[must_use]
    pub fn holders(&self, image: &Image) -> Vec<String> {
        self.read().holders(image).cloned().collect()
    }
}

impl Index {
    fn hold(&mut self, image: &Arc<Image>, by: &str) {
        // Between find and hold the image may have lost its name.
        let unnamed = self.unnamed.iter().find(|other| other.digest == image.digest).filter(|_| !self.has(image));
        let image = Arc::clone(unnamed.unwrap_or(image));
        self.used.insert(image.name.clone(), Utc::now());
        self.holds.entry(by.to_owned()).or_default().push(image);
    }

    /// Whether it is here under its name.
    fn has(&self, image: &Image) -> bool {
        self.all().any(|other| other.name == image.name && other.digest == image.digest)
    }
}
