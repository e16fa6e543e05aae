//! Opening the store: read the records, sweep what nobody refers to.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use chrono::Utc;

use super::ImageStore;
use super::disk::{LAYERS, QUARANTINE, RECORDS, TMP, private_dir, remove_any};
use super::index::Index;
use super::keep::load_uses;
use super::settle::Unsettled;
use super::verify::set_aside_layers;
use crate::image::record::{Record, VERSION};
use crate::image::turns::Turns;
use crate::image::{Digest, Image, ImageError, Reference, UnpackLimits};

/// MiB that all decoders together may take: six of the usual ones.
const WINDOWS: u64 = 48;

impl ImageStore {
    /// Opens the store in `dir`, making it if it is not there. What an import that did not finish left behind is removed. A
    /// record that cannot be read is put aside, and layers are then left alone: one of them may be its.
    ///
    /// # Errors
    /// When the directories cannot be made or read.
    pub fn open(dir: &Path, limits: UnpackLimits) -> Result<Self, ImageError> {
        let layers = dir.join(LAYERS);
        for path in [dir, &layers, &dir.join(RECORDS), &dir.join(TMP), &dir.join(QUARANTINE)] {
            private_dir(path)?;
        }
        sweep(&dir.join(TMP), |_| true)?;
        let unsettled = Unsettled::open(dir)?;
        let mut index = Index::default();
        let quarantine = dir.join(QUARANTINE);
        let aside = set_aside_layers(&quarantine);
        let aside = aside.map_err(|error| ImageError::io(format!("list {}", quarantine.display()), error))?;
        let mut all_read = true;
        let left = unsettled.records(&dir.join(RECORDS))?;
        let is_unsettled = |path: &Path| left.iter().any(|entry| entry.path() == path);
        for entry in entries(&dir.join(RECORDS))?.iter().chain(&left) {
            match read_record(&entry.path(), &layers, &aside) {
                Ok(image) => {
                    if is_unsettled(&entry.path()) {
                        unsettled.add(&image.layers);
                    }
                    let here = image.layers.iter().filter(|layer| layers.join(&layer.dir).is_dir());
                    here.for_each(|layer| index.add_layer(layer));
                    index.insert(Arc::new(image));
                }
                Err(problem) => {
                    all_read = false;
                    set_aside(entry, &quarantine, &problem);
                }
            }
        }
        if all_read {
            sweep(&layers, |name| !index.layers.contains_key(name))?;
        }
        let uses = load_uses(dir);
        index.used = uses.iter().map(|(name, time)| (name.clone(), *time)).collect();
        index.used.retain(|name, _| index.named.values().any(|image| image.name == *name));
        let store = Self {
            dir: dir.to_owned(),
            layers,
            limits,
            opened_at: Utc::now(),
            unsettled: Arc::new(unsettled),
            windows: Arc::new(Turns::new(WINDOWS)),
            saved_uses: Arc::new(Mutex::new(uses)),
            index: Arc::new(RwLock::new(index)),
            changes: Arc::default(),
        };
        for name in left.iter().filter_map(|entry| entry.file_name().into_string().ok()) {
            store.settle_later(&name);
        }
        Ok(store)
    }
}

fn read_record(path: &Path, layers: &Path, aside: &[String]) -> Result<Image, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if record.version != VERSION {
        return Err(format!("it is of format {}, this daemon reads {VERSION}", record.version));
    }
    let image = record.image;
    if !image.name.is_empty() && image.name.parse::<Reference>().is_err() {
        return Err("its name is not the name of an image".into());
    }
    let mut seen = HashSet::new();
    for layer in &image.layers {
        let is_named_by_content = layer.diff_id.parse::<Digest>().is_ok_and(|diff_id| diff_id.hex() == layer.dir);
        if !is_named_by_content || !seen.insert(&layer.dir) {
            return Err("a layer in it is not named by its content".into());
        }
        // One that was set aside will be fetched again.
        if !layers.join(&layer.dir).is_dir() && !aside.contains(&layer.dir) {
            return Err(format!("its layer {} is not here", layer.dir));
        }
    }
    Ok(image)
}

fn set_aside(entry: &DirEntry, quarantine: &Path, problem: &str) {
    let record = entry.path();
    tracing::warn!(record = %record.display(), problem, "put aside the record of an image");
    if let Err(error) = fs::rename(&record, quarantine.join(entry.file_name())) {
        tracing::warn!(record = %record.display(), %error, "cannot put it aside");
    }
}

/// Removes the entries of a directory whose names are unwanted.
fn sweep(path: &Path, unwanted: impl Fn(&str) -> bool) -> Result<(), ImageError> {
    for entry in entries(path)? {
        if entry.file_name().to_str().is_none_or(&unwanted) {
            let path = entry.path();
            remove_any(&path).map_err(|error| ImageError::io(format!("remove {}", path.display()), error))?;
        }
    }
    Ok(())
}

fn entries(path: &Path) -> Result<Vec<DirEntry>, ImageError> {
    let listed = fs::read_dir(path).and_then(Iterator::collect);
    listed.map_err(|error| ImageError::io(format!("list {}", path.display()), error))
}
