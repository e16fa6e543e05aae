//! The images of a host: unpacked layers, each once, and a small record for each image.
//!
//! ```text
//! <dir>/layers/<diff_id>/   an unpacked layer, complete: it got here by rename
//! <dir>/records/<..>.json   an image; written to tmp/ first, then renamed
//! <dir>/unsettled/<boot>/   records of which not everything is on the disk yet ([`settle`])
//! <dir>/uses.json           when images were used last
//! <dir>/tmp/                whatever is half made; emptied when the store is opened
//! <dir>/quarantine/         records that could not be read, and layers that were found damaged
//! ```
//!
//! Everything that a create asks for is answered from memory. A layer stays as long as an image, a holder or a running
//! import needs it. Only one process may have a store open; the daemon's lock on its state directory sees to that.

mod disk;
mod hold;
mod index;
mod keep;
mod open;
mod publish;
mod remove;
mod settle;
mod usage;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};

pub(super) use self::disk::Scratch;
use self::index::Index;
pub use self::keep::{KeepPolicy, MinFree, Room};
pub(super) use self::publish::Pins;
use self::settle::Unsettled;
pub use self::verify::{Verdict, Verified};
use super::turns::{Turn, Turns};
use super::{Image, ImageError, UnpackLimits};

/// The store; a clone is the same, every call blocks at most on the disk.
#[derive(Debug, Clone)]
pub struct ImageStore {
    dir: PathBuf,
    layers: PathBuf,
    limits: UnpackLimits,
    opened_at: DateTime<Utc>,
    /// MiB of the windows of all that is decompressed.
    windows: Arc<Turns>,
    unsettled: Arc<Unsettled>,
    /// What is in the file of the last uses.
    saved_uses: Arc<Mutex<BTreeMap<String, DateTime<Utc>>>>,
    /// Held for moments only, never over a call that waits for the disk.
    index: Arc<RwLock<Index>>,
    /// Held over every change on the disk below `layers/` and `records/`, but for the move of a record that has settled, which may
    /// happen at any time; taken before `index`.
    changes: Arc<Mutex<()>>,
}

impl ImageStore {
    /// The image that `name` points at: a name in any spelling, `name@sha256:...`, `sha256:...`, or at least 8 digits with
    /// which the digest or id of just one image begins. Never touches the disk.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Ambiguous`] for digits that two images begin with, and
    /// [`ImageError::Damaged`] when a layer of it was set aside.
    pub fn find(&self, name: &str) -> Result<Arc<Image>, ImageError> {
        self.read().find_whole(name)
    }

    /// As [`find`](Self::find), also where a layer was set aside.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] and [`ImageError::Ambiguous`].
    pub fn look_up(&self, name: &str) -> Result<Arc<Image>, ImageError> {
        self.read().find(name)
    }

    /// Whether a layer of the image was set aside.
    #[must_use]
    pub fn is_damaged(&self, image: &Image) -> bool {
        !self.read().is_whole(image)
    }

    /// Has short names mean this registry, where nothing is here under them.
    pub fn set_default_registry(&self, host: &str) {
        let host = if host == "docker.io" { "" } else { host };
        host.clone_into(&mut self.write().default_registry);
    }

    /// Every image, by name; those without a name last.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.read().all().cloned().collect()
    }

    /// Where the layers are: each is a directory directly below.
    #[must_use]
    pub fn layers_dir(&self) -> &Path {
        &self.layers
    }

    /// Waits until there is memory for decoding with a window of so many bytes.
    pub(super) fn reserve(&self, from: &str, window: u64) -> Option<Turn> {
        self.windows.ask(from, window.div_ceil(1 << 20)).blocking_recv().ok()
    }

    pub(super) fn limits(&self) -> &UnpackLimits {
        &self.limits
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        // Nothing panics while it changes the index, so a poisoned one is whole.
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}
