//! Bringing what an import made into the store.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, MutexGuard};

use chrono::Utc;

use super::disk::{LAYERS, record_name, sync_dir};
use super::index::Index;
use super::{ImageStore, Scratch};
use crate::image::{Image, ImageError, Layer, Reference};

/// The layers that a running import counts on; they stay while this value lives.
#[derive(Debug)]
pub(in crate::image) struct Pins<'s> {
    store: &'s ImageStore,
    dirs: BTreeSet<String>,
}

impl<'s> Pins<'s> {
    pub fn new(store: &'s ImageStore) -> Self {
        Self { store, dirs: BTreeSet::new() }
    }

    /// Pins a layer, and returns it if it is here already.
    pub fn pin(&mut self, dir: &str) -> Option<Layer> {
        let mut index = self.store.write();
        if self.dirs.insert(dir.to_owned()) {
            *index.pins.entry(dir.to_owned()).or_default() += 1;
        }
        index.layers.get(dir).cloned()
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        {
            let mut index = self.store.write();
            for dir in &self.dirs {
                // An import ends for each that began, so a count that is there is at least 1.
                let left = index.pins.get_mut(dir).map(|count| {
                    *count -= 1;
                    *count
                });
                if left == Some(0) {
                    index.pins.remove(dir);
                }
            }
        }
        self.store.collect();
    }
}

impl ImageStore {
    /// Makes verified layers and the image made of them part of the store, in an order that a crash cannot turn into an
    /// image without its layers. An image that had the name loses it; if it is in use, it stays without one.
    pub(in crate::image) fn publish(
        &self,
        image: Image,
        fresh: Vec<(Scratch, Layer)>,
    ) -> Result<Arc<Image>, ImageError> {
        let name: Reference = image.name.parse()?;
        let (_changing, later) = self.begin(&name, &record_name(&image), fresh.is_empty())?;
        if later {
            self.unsettled.add(fresh.iter().map(|(_, layer)| layer));
        }
        self.move_layers(&fresh, later)?;
        if !self.read().is_whole(&image) {
            let problem = "a layer that it shares with another image was found damaged just now; try again";
            return Err(ImageError::io(format!("publish image {}", image.name), std::io::Error::other(problem)));
        }
        if later {
            self.write_unsettled(&image)?;
            let image = Arc::new(image);
            self.write().add(&image);
            return Ok(image);
        }
        let replaced = self.read().by_name(&name).filter(|old| old.digest != image.digest).cloned();
        let unnamed = replaced.as_ref().map(|old| Arc::new(Image { name: String::new(), ..Image::clone(old) }));
        // Written whether it is in use or not: that may change until the index does, and a crash must find it.
        if let Some(unnamed) = &unnamed {
            self.write_record(unnamed)?;
        }
        self.write_record(&image)?;
        let image = Arc::new(image);
        let kept = self.write().replace(&image, replaced.as_deref(), unnamed.as_ref());
        if let Some(unnamed) = unnamed.filter(|_| !kept) {
            self.remove_record(&unnamed)?;
        }
        Ok(image)
    }

    /// Waits until no record of this name is about to be moved, and for the disk where that has to be; says whether the disk is to
    /// be waited for later. It may be where nothing is lost with a record that does not outlive the host's boot: where no image had
    /// the name before.
    fn begin(&self, name: &Reference, record: &str, is_known: bool) -> Result<(MutexGuard<'_, ()>, bool), ImageError> {
        let mut is_synced = false;
        loop {
            self.unsettled.wait_for(record);
            let changing = self.changing();
            let is_on_disk = is_synced || is_known && !self.unsettled.is_any();
            let is_new = self.read().by_name(name).is_none();
            if (is_on_disk || is_new) && !self.unsettled.is(record) {
                return Ok((changing, !is_on_disk));
            }
            drop(changing);
            if !is_on_disk {
                self.sync()?;
                is_synced = true;
            }
        }
    }

    fn move_layers(&self, fresh: &[(Scratch, Layer)], later: bool) -> Result<(), ImageError> {
        for (scratch, layer) in fresh {
            let target = self.layers.join(&layer.dir);
            // One that is known was published by another import; ours goes away with its scratch.
            if !self.read().layers.contains_key(&layer.dir) {
                // Of a record that could not be read: it may have holes, and something may run on it.
                if target.is_dir() {
                    self.move_aside(&layer.dir)?;
                }
                let moved = fs::rename(scratch.path(), &target);
                moved.map_err(|error| ImageError::io(format!("publish layer {}", layer.diff_id), error))?;
            }
            // Known from now on, so that it is collected if what follows fails.
            self.write().add_layer(layer);
        }
        if later {
            return Ok(());
        }
        sync_dir(&self.dir.join(LAYERS)).map_err(|error| ImageError::io("write the list of layers to the disk", error))
    }
}

impl Index {
    fn add(&mut self, image: &Arc<Image>) {
        self.insert(Arc::clone(image));
        // Until now it could not be used, however long that took.
        self.used.insert(image.name.clone(), Utc::now());
    }

    /// Puts `image` in the place of `replaced`. Holders of that one hold `unnamed` from now on; `false` if there are none.
    fn replace(&mut self, image: &Arc<Image>, replaced: Option<&Image>, unnamed: Option<&Arc<Image>>) -> bool {
        self.add(image);
        let (Some(replaced), Some(unnamed)) = (replaced, unnamed) else { return false };
        // A namesake may have lost its name before and have the same content: then there is just one record of the two.
        let mut kept = self.unnamed.iter().any(|other| other.digest == unnamed.digest);
        for held in self.holds.values_mut().flatten() {
            if held.name == replaced.name && held.digest == replaced.digest {
                *held = Arc::clone(unnamed);
                kept = true;
            }
        }
        if kept && !self.unnamed.iter().any(|other| other.digest == unnamed.digest) {
            self.unnamed.push(Arc::clone(unnamed));
        }
        kept
    }
}
