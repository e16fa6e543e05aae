//! Images that can be used before they are on the disk.
//!
//! To wait for the disk takes longer than all the rest of a small pull. An image that is new is usable as soon as it is
//! unpacked; its record lies in a directory of this boot of the host until everything is written, and among the others from
//! then on. A daemon that is killed meanwhile loses nothing, for the kernel has it all. When the host loses its power, the
//! records of another boot go, and with them the layers that may have holes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::ImageStore;
use super::disk::{LAYERS, RECORDS, private_dir, remove_any, sync_dir};
use crate::image::ImageError;

const UNSETTLED: &str = "unsettled";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The records of this boot.
#[derive(Debug)]
pub(super) struct Unsettled {
    dir: PathBuf,
    writing: Arc<Writing>,
}

/// The names of the records whose layers are being written.
#[derive(Debug, Default)]
struct Writing {
    records: Mutex<BTreeSet<String>>,
    done: Condvar,
}

impl Unsettled {
    /// Removes what is of another boot, and moves what is of this one to the others.
    pub fn open(store: &Path) -> Result<Self, ImageError> {
        let failed = |what: &Path| {
            let action = format!("settle {}", what.display());
            move |error| ImageError::io(action, error)
        };
        let boot = fs::read_to_string(BOOT).map_err(failed(Path::new(BOOT)))?;
        let all = store.join(UNSETTLED);
        private_dir(&all)?;
        let dir = all.join(boot.trim());
        private_dir(&dir)?;
        for entry in fs::read_dir(&all).map_err(failed(&all))? {
            let path = entry.map_err(failed(&all))?.path();
            if path != dir {
                tracing::warn!("the host went down before all images were on the disk: those are not here any more");
                remove_any(&path).map_err(failed(&path))?;
            }
        }
        let left = fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed(&dir))?;
        let left: Vec<PathBuf> = left.iter().map(fs::DirEntry::path).collect();
        if !left.is_empty() {
            settle(store, &left).map_err(failed(&dir))?;
        }
        Ok(Self { dir, writing: Arc::default() })
    }

    pub fn path(&self, record: &str) -> PathBuf {
        self.dir.join(record)
    }

    /// Whether some layers may not be on the disk.
    pub fn is_any(&self) -> bool {
        !self.writing.records().is_empty()
    }

    pub fn is(&self, record: &str) -> bool {
        self.writing.records().contains(record)
    }

    /// Waits until this record is among the others, or failed to get there.
    pub fn wait_for(&self, record: &str) {
        self.writing.wait_while(|records| records.contains(record));
    }

    /// Has all that was unpacked written to the disk, and then this record moved to the others.
    fn settle_later(&self, store: &Path, record: &str) {
        self.writing.records().insert(record.to_owned());
        let (writing, path) = (Arc::clone(&self.writing), self.path(record));
        let (store, name) = (store.to_owned(), record.to_owned());
        let work = move || {
            if let Err(error) = settle(&store, &[path]) {
                tracing::error!(%error, "an image may not be on the disk; it is lost when the host goes down");
            }
            writing.records().remove(&name);
            writing.done.notify_all();
        };
        if let Err(error) = std::thread::Builder::new().name("images".to_owned()).spawn(work) {
            tracing::error!(%error, "an image is lost when the host goes down");
            self.writing.records().remove(record);
        }
    }
}

impl Writing {
    fn wait_while(&self, some: impl Fn(&BTreeSet<String>) -> bool) {
        drop(self.done.wait_while(self.records(), |records| some(records)));
    }

    fn records(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ImageStore {
    /// Waits until every image is on the disk.
    pub fn settle(&self) {
        self.unsettled.writing.wait_while(|records| !records.is_empty());
    }

    pub(super) fn settle_later(&self, record: &str) {
        self.unsettled.settle_later(&self.dir, record);
    }

    /// Everything that was unpacked reaches the disk before anything refers to it: one call for the whole image.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        sync_all(&self.dir).map_err(|error| ImageError::io("write the layers to the disk", error))
    }
}

/// Moves records to the others once all that they refer to is on the disk. One that has been removed stays so.
fn settle(store: &Path, records: &[PathBuf]) -> io::Result<()> {
    sync_all(store)?;
    for record in records {
        let Some(name) = record.file_name() else { continue };
        match fs::rename(record, store.join(RECORDS).join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_dir(&store.join(RECORDS))
}

fn sync_all(store: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(store.join(LAYERS))?)?)
}
