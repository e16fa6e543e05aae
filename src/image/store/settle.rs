//! Images that can be used before they are on the disk.
//!
//! To wait for the disk takes longer than all the rest of a small pull. An image that is new is usable as soon as it is
//! unpacked; its record lies in a directory of this boot of the host until everything is written, and among the others from
//! then on. A daemon that is killed meanwhile loses nothing, for the kernel has it all. When the host loses its power, the
//! records of another boot go, and with them the layers that may have holes.
//!
//! What the disk fails to take is told once to each descriptor, so one descriptor asks for all (`syncfs(2)`, Linux 5.8), one
//! call at a time; then every layer that is not known to be on the disk counts as damaged.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ImageStore;
use super::disk::{LAYERS, RECORDS, private_dir, remove_any, remove_if_there, sync_dir};
use crate::image::{ImageError, Layer};

const UNSETTLED: &str = "unsettled";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What may not be on the disk.
#[derive(Debug)]
pub(super) struct Unsettled {
    /// The records of this boot; made with the first of them.
    dir: PathBuf,
    /// A way to the file system, as old as the store.
    layers: File,
    /// Held while the disk is waited for.
    syncing: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The names of the directories of layers.
    layers: BTreeSet<String>,
    /// The names of records that are to be moved to the others.
    records: BTreeSet<String>,
    /// Whether a thread is at that.
    is_busy: bool,
}

impl Unsettled {
    /// Removes what is of another boot.
    pub fn open(store: &Path) -> Result<Self, ImageError> {
        let failed = |what: &Path| {
            let action = format!("open {}", what.display());
            move |error| ImageError::io(action, error)
        };
        let boot = fs::read_to_string(BOOT).map_err(failed(Path::new(BOOT)))?;
        let all = store.join(UNSETTLED);
        let dir = all.join(boot.trim());
        let others = entries(&all).map_err(failed(&all))?.into_iter().map(|entry| entry.path());
        for other in others.filter(|path| *path != dir) {
            if entries(&other).is_ok_and(|records| !records.is_empty()) {
                tracing::warn!("the host went down before all images were on the disk: those are not here any more");
            }
            remove_any(&other).map_err(failed(&other))?;
        }
        let path = store.join(LAYERS);
        let layers = File::open(&path).map_err(failed(&path))?;
        let (syncing, state, changed) = (Mutex::default(), Mutex::default(), Condvar::new());
        Ok(Self { dir, layers, syncing, state, changed })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn path(&self, record: &str) -> PathBuf {
        self.dir.join(record)
    }

    /// The records that an earlier daemon of this boot has left. One that is among the others, too, is older than those, and goes.
    pub fn records(&self, others: &Path) -> Result<Vec<DirEntry>, ImageError> {
        let found =
            entries(&self.dir).map_err(|error| ImageError::io(format!("list {}", self.dir.display()), error))?;
        let (old, left): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|entry| others.join(entry.file_name()).exists());
        old.iter().try_for_each(|entry| remove_if_there(&entry.path()))?;
        Ok(left)
    }

    pub fn make_dir(&self) -> Result<(), ImageError> {
        self.dir.parent().map_or(Ok(()), private_dir)?;
        private_dir(&self.dir)
    }

    /// Whether some layers may not be on the disk.
    pub fn is_any(&self) -> bool {
        !self.state().layers.is_empty()
    }

    /// Whether this record is to be moved to the others.
    pub fn is(&self, record: &str) -> bool {
        self.state().records.contains(record)
    }

    /// Waits until this record is among the others, or failed to get there.
    pub fn wait_for(&self, record: &str) {
        drop(self.changed.wait_while(self.state(), |state| state.records.contains(record)));
    }

    /// To be called before anybody knows of the layers.
    pub fn add<'a>(&self, layers: impl IntoIterator<Item = &'a Layer>) {
        self.state().layers.extend(layers.into_iter().map(|layer| layer.dir.clone()));
    }

    fn settled(&self, layers: &BTreeSet<String>, records: &BTreeSet<String>) {
        let mut state = self.state();
        state.layers.retain(|layer| !layers.contains(layer));
        state.records.retain(|record| !records.contains(record));
        drop(state);
        self.changed.notify_all();
    }
}

impl ImageStore {
    /// Waits until every image is on the disk, but not for longer than this.
    pub fn settle(&self, at_most: Duration) {
        let is_busy = |state: &mut State| !state.records.is_empty();
        drop(self.unsettled.changed.wait_timeout_while(self.unsettled.state(), at_most, is_busy));
    }

    /// Has everything written to the disk, and then this record moved to the others.
    pub(super) fn settle_later(&self, record: &str) {
        let mut state = self.unsettled.state();
        state.records.insert(record.to_owned());
        if std::mem::replace(&mut state.is_busy, true) {
            return;
        }
        drop(state);
        let store = self.clone();
        let thread = std::thread::Builder::new().name("images".to_owned());
        if let Err(error) = thread.spawn(move || store.settle_all()) {
            tracing::error!(record, %error, "an image is lost if the host goes down before the daemon is started again");
            self.unsettled.state().is_busy = false;
            self.unsettled.settled(&BTreeSet::new(), &[record.to_owned()].into());
        }
    }

    fn settle_all(&self) {
        loop {
            let records = {
                let mut state = self.unsettled.state();
                state.is_busy = !state.records.is_empty();
                if !state.is_busy {
                    return;
                }
                state.records.clone()
            };
            // Layers that failed are set aside, and their images are known as damaged.
            if let Err(error) = self.sync() {
                tracing::error!(error = crate::model::with_causes(&error), "images are damaged");
            }
            for record in &records {
                // One that has been removed meanwhile stays so.
                match fs::rename(self.unsettled.path(record), self.dir.join(RECORDS).join(record)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::error!(record, %error, "an image is lost if the host goes down");
                    }
                    _ => {}
                }
            }
            if let Err(error) = sync_dir(&self.dir.join(RECORDS)) {
                tracing::error!(?records, %error, "images are lost if the host goes down");
            }
            self.unsettled.settled(&BTreeSet::new(), &records);
        }
    }

    /// Everything that was unpacked reaches the disk: one call for all of it. What may not have got there is set aside. To be called
    /// while the caller changes nothing.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        let _one = self.unsettled.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.unsettled.state().layers.clone();
        match nix::unistd::syncfs(&self.unsettled.layers) {
            Ok(()) => {
                self.unsettled.settled(&before, &BTreeSet::new());
                Ok(())
            }
            Err(errno) => {
                // The error may be of those that came meanwhile.
                let lost = self.unsettled.state().layers.clone();
                for layer in &lost {
                    tracing::error!(layer, %errno, "a layer may not be on the disk, and is set aside");
                    if let Err(error) = self.set_aside(layer) {
                        tracing::error!(layer, error = crate::model::with_causes(&error), "it stays");
                    }
                }
                self.unsettled.settled(&lost, &BTreeSet::new());
                Err(ImageError::io("write the layers to the disk", errno))
            }
        }
    }
}

/// What is in a directory, which may not be there.
fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.and_then(Iterator::collect),
    }
}
