//! Looking whether layers are still what was unpacked.
//!
//! A layer that is not is set aside: what runs on it keeps it, nothing new is made of it, and the images that have it are
//! fetched again by whoever wants them next.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;

use super::disk::{LAYERS, QUARANTINE, remove_any, sync_dir};
use super::{ImageStore, Pins};
use crate::image::pack::{ContentHash, Entry, Files, checksum, content_of};
use crate::image::{ImageError, Layer};

/// What was found out about a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Sound,
    /// It was unpacked by a version that noted no checksum.
    Unknown,
    /// It is set aside; the text says what is wrong.
    Damaged(String),
}

/// A layer that was looked at.
#[derive(Debug, Clone)]
pub struct Verified {
    pub layer: Layer,
    /// The names of the images that have it; an image without a name goes by its digest.
    pub images: Vec<String>,
    pub verdict: Verdict,
}

impl ImageStore {
    /// Reads every layer and tells of each; stops when `tell` says so by `false`.
    ///
    /// # Errors
    /// When the host fails, so that nothing can be said of the rest.
    pub fn verify(&self, tell: &mut dyn FnMut(Verified) -> bool) -> Result<(), ImageError> {
        let mut dirs: Vec<_> = self.read().layers.keys().cloned().collect();
        dirs.sort();
        for dir in dirs {
            let mut pins = Pins::new(self);
            // It may have gone meanwhile.
            let Some(layer) = pins.pin(&dir) else { continue };
            let verdict = self.judge(&layer)?;
            if let Verdict::Damaged(problem) = &verdict {
                tracing::warn!(layer = layer.diff_id, problem, "a layer is damaged and is set aside");
                self.set_aside(&dir)?;
            }
            let images = self.images_with(&dir);
            if !tell(Verified { layer, images, verdict }) {
                break;
            }
        }
        Ok(())
    }

    fn judge(&self, layer: &Layer) -> Result<Verdict, ImageError> {
        let at = format!("layer {}", layer.diff_id);
        let path = self.layers.join(&layer.dir);
        let opened = File::open(&path).map(OwnedFd::from);
        let opened = opened.map_err(|error| ImageError::io(format!("open {}", path.display()), error));
        let found = opened.and_then(|root| checksum::of(root, &at, &mut Reread));
        match (found, &layer.checksum) {
            (Err(error), _) if is_damage(&error) => Ok(Verdict::Damaged(crate::model::with_causes(&error))),
            (Err(error), _) => Err(error),
            (Ok(_), None) => Ok(Verdict::Unknown),
            (Ok(found), Some(noted)) if found == *noted => Ok(Verdict::Sound),
            (Ok(_), Some(_)) => Ok(Verdict::Damaged("its files are not what was unpacked".to_owned())),
        }
    }

    /// Moves a layer out of the way. Whoever has mounted it keeps it.
    pub(super) fn set_aside(&self, dir: &str) -> Result<(), ImageError> {
        let _changing = self.changing();
        self.write().layers.remove(dir);
        self.move_aside(dir)
    }

    /// To be called while nothing else changes.
    pub(super) fn move_aside(&self, dir: &str) -> Result<(), ImageError> {
        let aside = format!("{dir}.{}", uuid::Uuid::new_v4().simple());
        let moved = fs::rename(self.layers.join(dir), self.dir.join(QUARANTINE).join(aside));
        let moved = match moved {
            // There is nothing to be moved.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved,
        };
        let synced = moved.and_then(|()| {
            sync_dir(&self.dir.join(QUARANTINE))?;
            sync_dir(&self.dir.join(LAYERS))
        });
        synced.map_err(|error| ImageError::io(format!("set layer {dir} aside"), error))
    }

    fn images_with(&self, dir: &str) -> Vec<String> {
        let index = self.read();
        let has = index.all().filter(|image| image.layers.iter().any(|layer| layer.dir == dir));
        has.map(|image| if image.name.is_empty() { image.digest.clone() } else { image.name.clone() }).collect()
    }

    /// Removes the layers that were set aside, but for those of images that somebody holds: one of them may be mounted.
    pub(super) fn clear_quarantine(&self) {
        let quarantine = self.dir.join(QUARANTINE);
        let Ok(entries) = fs::read_dir(&quarantine) else { return };
        for entry in entries.flatten() {
            let Some(dir) = entry.file_name().to_str().and_then(set_aside_layer).map(str::to_owned) else { continue };
            let is_held = |index: &super::Index| {
                index.holds.values().flatten().any(|image| image.layers.iter().any(|layer| layer.dir == dir))
            };
            if !is_held(&self.read())
                && let Err(error) = remove_any(&entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "cannot remove a damaged layer");
            }
        }
    }
}

/// The layer that lies in the quarantine under this name.
fn set_aside_layer(name: &str) -> Option<&str> {
    name.split_once('.').map(|(dir, _)| dir).filter(|dir| dir.len() == 64)
}

/// The layers that were set aside.
pub(super) fn set_aside_layers(quarantine: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(quarantine)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(entry.file_name().to_str().and_then(set_aside_layer).map(str::to_owned));
        }
    }
    Ok(found)
}

/// Whether the disk or the tree is at fault, and not the want of memory or descriptors.
fn is_damage(error: &ImageError) -> bool {
    match error {
        ImageError::Io { source, .. } => {
            let errno = source.raw_os_error().map(Errno::from_raw);
            matches!(
                errno,
                None | Some(
                    Errno::EIO | Errno::EUCLEAN | Errno::EBADMSG | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP
                )
            )
        }
        _ => true,
    }
}

/// Everything is read from the disk.
struct Reread;

impl Files for Reread {
    fn content(&mut self, entry: &Entry<'_>) -> io::Result<ContentHash> {
        content_of(&mut File::from(entry.open()?), &entry.stat)
    }

    fn may_have_attributes(&self) -> bool {
        true
    }
}
