//! Prepared places for sandboxes: an id range, its namespaces, and the image layers as that range sees them.
//!
//! A slot costs 1 to 6 ms to make, mostly for the network namespace. One thread keeps a small number of them ready, so
//! that a create only takes one. A slot is used once; what it consists of goes away with the sandbox.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::idrange::IdRanges;
use super::launcher::{LauncherError, NamespaceMaker, Namespaces};
use crate::sys::{self, MountAttr, SyscallError, TreeSource};

/// How long a create waits for a slot when none is ready: many times what making one takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Slot {
    pub base: u32,
    pub namespaces: Namespaces,
    /// The directory of unpacked layers, mounted detached and read-only, its ids shifted into the range.
    pub layers: OwnedFd,
    /// The same for the skeleton that is laid over every root.
    pub skeleton: OwnedFd,
}

#[derive(Debug, Clone, Error)]
pub enum SlotError {
    #[error("reserve an id range: all of them are in use; delete sandboxes that are no longer needed")]
    NoRange,
    #[error("prepare namespaces for a sandbox: {0}")]
    Make(String),
}

impl From<LauncherError> for SlotError {
    fn from(error: LauncherError) -> Self {
        Self::Make(error.to_string())
    }
}

impl From<SyscallError> for SlotError {
    fn from(error: SyscallError) -> Self {
        Self::Make(error.to_string())
    }
}

/// Where the layers are.
#[derive(Debug, Clone)]
pub struct LayerDirs {
    pub layers: PathBuf,
    pub skeleton: PathBuf,
}

#[derive(Debug)]
pub struct Slots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ready: Mutex<Ready>,
    /// Told when a slot was put in, when one was taken, and at the end.
    changed: Condvar,
    ranges: Arc<IdRanges>,
    target: usize,
}

#[derive(Debug, Default)]
struct Ready {
    slots: Vec<Slot>,
    /// Creates that wait for a slot.
    waiting: usize,
    failure: Option<SlotError>,
    closed: bool,
}

impl Slots {
    /// Starts the thread that keeps `target` slots ready.
    pub fn start(program: &Path, dirs: LayerDirs, ranges: Arc<IdRanges>, target: usize) -> Result<Self, SlotError> {
        let maker = NamespaceMaker::start(program)?;
        let shared =
            Arc::new(Shared { ready: Mutex::default(), changed: Condvar::new(), ranges, target: target.max(1) });
        let theirs = Arc::clone(&shared);
        let program = program.to_owned();
        let thread = std::thread::Builder::new().name("slots".into());
        let started = thread.spawn(move || theirs.refill(&program, maker, &dirs));
        started.map_err(|error| SlotError::Make(error.to_string()))?;
        Ok(Self { shared })
    }

    /// Takes a slot that is ready.
    #[must_use]
    pub fn take_ready(&self) -> Option<Slot> {
        let slot = self.shared.lock().slots.pop();
        self.shared.changed.notify_all();
        slot
    }

    /// Takes a slot; waits for one when none is ready. Blocks.
    pub fn take(&self) -> Result<Slot, SlotError> {
        let shared = &self.shared;
        let start = Instant::now();
        let mut ready = shared.lock();
        ready.waiting += 1;
        ready.failure = None;
        let taken = loop {
            if let Some(slot) = ready.slots.pop() {
                break Ok(slot);
            }
            shared.changed.notify_all();
            let left = PATIENCE.saturating_sub(start.elapsed());
            let failure = ready.failure.clone();
            if failure.is_some() || left.is_zero() {
                break Err(failure.unwrap_or_else(|| SlotError::Make("none was ready in time".into())));
            }
            ready = shared.changed.wait_timeout(ready, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        ready.waiting -= 1;
        drop(ready);
        shared.changed.notify_all();
        taken
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let mut ready = self.shared.lock();
        ready.closed = true;
        for slot in ready.slots.drain(..) {
            self.shared.ranges.release(slot.base);
        }
        drop(ready);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refill(&self, program: &Path, mut maker: NamespaceMaker, dirs: &LayerDirs) {
        loop {
            let mut ready = self.lock();
            // After a failure the next try waits for the next create, which then hears of it.
            while !ready.closed && (ready.slots.len() >= self.target || (ready.failure.is_some() && ready.waiting == 0))
            {
                ready = self.changed.wait(ready).unwrap_or_else(PoisonError::into_inner);
            }
            if ready.closed {
                return;
            }
            drop(ready);
            let made = self.make(&maker, dirs);
            if let Err(error) = &made {
                tracing::error!(%error, "preparing a slot failed");
                if let Ok(fresh) = NamespaceMaker::start(program) {
                    maker = fresh;
                }
            }
            let mut ready = self.lock();
            match made {
                Ok(slot) => ready.slots.insert(0, slot),
                Err(error) => ready.failure = Some(error),
            }
            drop(ready);
            self.changed.notify_all();
        }
    }

    fn make(&self, maker: &NamespaceMaker, dirs: &LayerDirs) -> Result<Slot, SlotError> {
        let base = self.ranges.reserve().ok_or(SlotError::NoRange)?;
        let made = (|| {
            let namespaces = maker.make(base)?;
            let layers = shifted(&dirs.layers, &namespaces.user)?;
            let skeleton = shifted(&dirs.skeleton, &namespaces.user)?;
            Ok(Slot { base, namespaces, layers, skeleton })
        })();
        if made.is_err() {
            self.ranges.release(base);
        }
        made
    }
}

/// A detached read-only mount of `dir` whose ids are shifted into the namespace's range.
fn shifted(dir: &Path, user_namespace: &OwnedFd) -> Result<OwnedFd, SyscallError> {
    let opened = sys::told(File::open(dir), || format!("open({})", dir.display()))?;
    let mount = sys::clone_tree(TreeSource::Fd(opened.as_fd()))?;
    let attributes = MountAttr::READ_ONLY.and(MountAttr::NO_DEV);
    sys::idmap_mount(mount.as_fd(), user_namespace.as_fd(), attributes)?;
    Ok(mount)
}
