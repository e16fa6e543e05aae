//! What is in the store, in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::image::reference::{Query, Reference};
use crate::image::{Digest, Image, ImageError, Layer};

/// Digits of a digest that are enough to point at an image; Docker shows 12.
const SHORT_ID: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// The registry that short names mean where nothing is here under them; empty for Docker's.
    pub default_registry: String,
    /// By canonical name.
    pub named: BTreeMap<String, Arc<Image>>,
    /// Images whose name another one took while they were in use.
    pub unnamed: Vec<Arc<Image>>,
    /// What each holder holds.
    pub holds: BTreeMap<String, Vec<Arc<Image>>>,
    /// When the image of a name was last taken or given back.
    pub used: HashMap<String, DateTime<Utc>>,
    /// Layers that running imports need, with the number of imports.
    pub pins: HashMap<String, usize>,
    /// Every layer that is published, by the name of its directory.
    pub layers: HashMap<String, Layer>,
}

impl Index {
    /// Its layers are told of by [`add_layer`](Self::add_layer).
    pub fn insert(&mut self, image: Arc<Image>) {
        match image.name.parse::<Reference>() {
            Ok(name) => drop(self.named.insert(name.canonical(), image)),
            Err(_) => self.unnamed.push(image),
        }
    }

    /// A layer that is on the disk. What is known of it stays known.
    pub fn add_layer(&mut self, layer: &Layer) {
        let known = self.layers.get(&layer.dir).is_some_and(|known| known.checksum.is_some());
        if !known {
            self.layers.insert(layer.dir.clone(), layer.clone());
        }
    }

    /// Whether all layers are here.
    pub fn is_whole(&self, image: &Image) -> bool {
        image.layers.iter().all(|layer| self.layers.contains_key(&layer.dir))
    }

    pub fn find_whole(&self, text: &str) -> Result<Arc<Image>, ImageError> {
        let image = self.find(text)?;
        match self.is_whole(&image) {
            true => Ok(image),
            false => Err(ImageError::Damaged { name: image.name.clone(), pulled: image.pulled }),
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.named.values().chain(&self.unnamed)
    }

    pub fn find(&self, text: &str) -> Result<Arc<Image>, ImageError> {
        let found = self.find_as_written(text);
        match Reference::read(text, &self.default_registry) {
            Ok(full) if found.is_err() && !self.default_registry.is_empty() => {
                self.find_as_written(&full.canonical()).or(found)
            }
            _ => found,
        }
    }

    fn find_as_written(&self, text: &str) -> Result<Arc<Image>, ImageError> {
        let not_found = || ImageError::NotFound { name: text.chars().take(300).collect() };
        match text.parse::<Query>() {
            Ok(Query::Digest(digest)) => self.by_digits(&digest.hex(), text)?.ok_or_else(not_found),
            Ok(Query::Pinned(name, digest)) => self.pinned(&name, digest).cloned().ok_or_else(not_found),
            Ok(Query::Name(name)) => match self.by_name(&name) {
                Some(image) => Ok(Arc::clone(image)),
                None => self.by_digits(text, text)?.ok_or_else(not_found),
            },
            // What is no name is no image's name.
            Err(_) => Err(not_found()),
        }
    }

    /// The image of this repository that has the digest, or was chosen from the index that has it.
    fn pinned(&self, name: &Reference, digest: Digest) -> Option<&Arc<Image>> {
        let digest = digest.to_string();
        let is_it = |image: &&Arc<Image>| {
            let same =
                |name: &Reference, own: &Reference| (own.host(), own.repository()) == (name.host(), name.repository());
            let has = image.digest == digest || image.index_digest.as_ref() == Some(&digest);
            has && image.name.parse::<Reference>().is_ok_and(|own| same(name, &own))
        };
        self.by_name(name).into_iter().chain(self.all()).find(is_it)
    }

    pub fn by_name(&self, name: &Reference) -> Option<&Arc<Image>> {
        self.named.get(&name.canonical())
    }

    /// Images that differ only in their name count as one.
    fn by_digits(&self, digits: &str, text: &str) -> Result<Option<Arc<Image>>, ImageError> {
        let is_hex = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() < SHORT_ID || !is_hex {
            return Ok(None);
        }
        let begins = |digest: &str| digest.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(digits));
        let found: Vec<_> = self.all().filter(|image| begins(&image.digest) || begins(&image.id)).collect();
        let different: HashSet<_> = found.iter().map(|image| &image.id).collect();
        if different.len() > 1 {
            let problem = "more than one image begins with these digits".to_owned();
            return Err(ImageError::Ambiguous { name: text.to_owned(), problem });
        }
        Ok(found.first().map(|image| Arc::clone(image)))
    }

    /// Who holds this image (not only an equal one).
    pub fn holders<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = &'a String> {
        let same = move |held: &Arc<Image>| held.name == image.name && held.digest == image.digest;
        self.holds.iter().filter(move |(_, held)| held.iter().any(same)).map(|(by, _)| by)
    }

    /// Forgets the layers that nobody needs any more, and returns the names of their directories.
    pub fn take_unneeded_layers(&mut self) -> Vec<String> {
        let held = self.holds.values().flatten();
        let needed: HashSet<String> =
            self.all().chain(held).flat_map(|image| &image.layers).map(|layer| layer.dir.clone()).collect();
        let pins = &self.pins;
        let unneeded: Vec<_> =
            self.layers.keys().filter(|dir| !needed.contains(*dir) && !pins.contains_key(*dir)).cloned().collect();
        for dir in &unneeded {
            self.layers.remove(dir);
        }
        unneeded
    }
}
