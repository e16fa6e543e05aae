//! Disks that are made before anybody asks for them: a create takes one that is ready, and its file gets the sandbox's name.
//!
//! They are files below `STATE/disks/ready` and mounts that only this process holds. When it is killed the mounts and their
//! devices go with it, and the next daemon removes the files.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::maker::Maker;
use super::shelf::{Next, Shelf};
use super::template::Templates;
use super::{DiskError, DiskSize};
use crate::model::with_causes;
use crate::runtime::root::Writable;

/// Templates, and below them what is ready.
const DISKS: &str = "disks";

/// Disks on loop devices, those to come included.
#[derive(Debug)]
pub struct Ahead {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    maker: Maker,
    dir: PathBuf,
    state: Mutex<State>,
    /// Told when a disk was asked for, and at the end.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    shelf: Shelf<Ready>,
    closed: bool,
}

/// A disk that nobody has yet.
#[derive(Debug)]
struct Ready {
    image: PathBuf,
    writable: Writable,
}

impl Ahead {
    /// Removes what an earlier daemon had prepared.
    ///
    /// # Errors
    /// When that cannot be removed.
    pub fn clear(state_dir: &Path) -> io::Result<()> {
        let dir = ready_dir(state_dir);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io::Error::new(error.kind(), format!("remove {}: {error}", dir.display())))
            }
            _ => Ok(()),
        }
    }

    /// Starts the thread that keeps `target` disks of the default size ready, and as many of all other sizes that are asked
    /// for.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(state_dir: &Path, mke2fs: PathBuf, target: usize, default: Option<DiskSize>) -> io::Result<Self> {
        let maker = Maker::new(Templates::new(state_dir.join(DISKS), mke2fs, default));
        let state = Mutex::new(State { shelf: Shelf::new(target, default), closed: false });
        let shared = Arc::new(Shared { maker, dir: ready_dir(state_dir), state, changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("disks".into()).spawn(move || theirs.refill())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A writable layer of this size, root's still, in the file `image`, which must not be there. One that is ready, or a
    /// new one.
    ///
    /// # Errors
    /// When a step failed; `image` may be there then.
    pub fn take(&self, image: &Path, size: DiskSize) -> Result<Writable, DiskError> {
        let shared = &self.shared;
        let ready = shared.lock().shelf.take(size, Instant::now());
        shared.changed.notify_all();
        if let Some(ready) = ready {
            match fs::rename(&ready.image, image) {
                Ok(()) => return Ok(ready.writable),
                Err(error) => shared.reject(ready, &error),
            }
        }
        shared.make_now(image, size)
    }

    /// Takes apart what nobody has taken, and makes no more.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that prepares disks panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refill(&self) {
        while let Some(size) = self.wait_for_need() {
            let image = self.dir.join(uuid::Uuid::new_v4().to_string());
            match self.make(&image, size) {
                Ok(writable) => self.lock().shelf.put(size, Ready { image, writable }),
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "no disk of {} bytes could be prepared", size.bytes);
                    drop(fs::remove_file(&image));
                    self.lock().shelf.failed(size, Instant::now());
                }
            }
        }
        let all = self.lock().shelf.take_all();
        all.into_iter().for_each(Ready::discard);
    }

    /// Puts a disk away that could not get the sandbox's name: without a name it would not be found again. It is unmounted by
    /// the thread that has time for that.
    fn reject(&self, ready: Ready, error: &io::Error) {
        let mut state = self.lock();
        if error.kind() == io::ErrorKind::CrossesDevices {
            tracing::warn!("no disks are prepared: {} and the sandboxes are on two file systems", self.dir.display());
            state.shelf.stop();
        } else {
            // Somebody has cleared a directory.
            tracing::warn!(%error, "a prepared disk could not be renamed: {}", ready.image.display());
        }
        state.shelf.reject(ready);
        drop(state);
        self.changed.notify_all();
    }

    /// Makes one for somebody who waits. A disk that nobody waits for goes, where its device or room may be what is missing.
    fn make_now(&self, image: &Path, size: DiskSize) -> Result<Writable, DiskError> {
        let error = match self.maker.make(image, size) {
            Err(error @ (DiskError::Io { .. } | DiskError::Syscall(_))) => error,
            done => return done,
        };
        let spare = self.lock().shelf.evict(Instant::now());
        let Some(spare) = spare else { return Err(error) };
        tracing::warn!(error = with_causes(&error), "a prepared disk goes, and another try is made");
        spare.discard();
        drop(fs::remove_file(image));
        self.maker.make(image, size)
    }

    fn make(&self, image: &Path, size: DiskSize) -> Result<Writable, DiskError> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.dir).map_err(DiskError::io("make", &self.dir))?;
        self.maker.make(image, size)
    }

    /// The size of which one more is to be made; `None` at the end.
    fn wait_for_need(&self) -> Option<DiskSize> {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            let unwanted = state.shelf.take_unwanted(now);
            if !unwanted.is_empty() {
                drop(state);
                unwanted.into_iter().for_each(Ready::discard);
                state = self.lock();
                continue;
            }
            state = match state.shelf.next(now) {
                Next::Make(size) => return Some(size),
                Next::Wait(None) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::Wait(Some(time)) => {
                    self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        None
    }
}

impl Ready {
    /// What stays of the file is removed by the next daemon.
    fn discard(self) {
        drop(fs::remove_file(&self.image));
    }
}

fn ready_dir(state_dir: &Path) -> PathBuf {
    state_dir.join(DISKS).join("ready")
}
