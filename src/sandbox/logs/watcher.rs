//! Tells followers that something was written: inotify(7), one instance for all.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::sys;

#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    inotify: Inotify,
    /// The same instance by another descriptor, in the event loop.
    readable: AsyncFd<OwnedFd>,
    /// Who waits for which directory. The kernel gives one descriptor for each directory, however often it is added.
    waiting: Mutex<HashMap<WatchDescriptor, watch::Sender<()>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Watcher {
    /// # Errors
    /// When the user has all the instances that the kernel gives (`fs.inotify.max_user_instances`).
    pub fn start() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let readable = sys::watch_readable(inotify.as_fd().try_clone_to_owned()?)?;
        let shared = Arc::new(Shared { inotify, readable, waiting: Mutex::default() });
        tokio::spawn(tell(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Watches the files of a directory from now on.
    pub fn watch(&self, dir: &Path) -> io::Result<Changes> {
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR;
        let mut waiting = self.shared.lock();
        let descriptor = self.shared.inotify.add_watch(dir, flags)?;
        let changed = waiting.entry(descriptor).or_insert_with(|| watch::Sender::new(())).subscribe();
        drop(waiting);
        Ok(Changes { shared: Arc::clone(&self.shared), descriptor, changed: Some(changed) })
    }

    #[cfg(test)]
    pub fn watched(&self) -> usize {
        self.shared.lock().len()
    }
}

/// A directory that is being watched until this is dropped.
#[derive(Debug)]
pub struct Changes {
    shared: Arc<Shared>,
    descriptor: WatchDescriptor,
    /// `None` once the directory is gone.
    changed: Option<watch::Receiver<()>>,
}

impl Changes {
    /// Resolves when something was written since the last call; never again once the directory is gone. Cancel-safe.
    pub async fn next(&mut self) {
        match &mut self.changed {
            Some(changed) => {
                if changed.changed().await.is_err() {
                    self.changed = None;
                }
            }
            None => std::future::pending().await,
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.changed = None;
        let mut waiting = self.shared.lock();
        if waiting.get(&self.descriptor).is_some_and(watch::Sender::is_closed) {
            waiting.remove(&self.descriptor);
            // The kernel has removed the watch itself when the directory is gone.
            self.shared.inotify.rm_watch(self.descriptor).unwrap_or_default();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<WatchDescriptor, watch::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, event: &InotifyEvent) {
        let mut waiting = self.lock();
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            waiting.values().for_each(|changed| changed.send_replace(()));
        } else if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            waiting.remove(&event.wd);
        } else if let Some(changed) = waiting.get(&event.wd) {
            changed.send_replace(());
        }
    }
}

/// Passes the kernel's events on, for as long as the daemon lives.
async fn tell(shared: Arc<Shared>) {
    loop {
        let Ok(mut ready) = shared.readable.readable().await else { return };
        match ready.try_io(|_| shared.inotify.read_events().map_err(io::Error::from)) {
            Ok(Ok(events)) => events.iter().for_each(|event| shared.wake(event)),
            // Nobody can be told any more: followers end with their sandbox.
            Ok(Err(error)) => return tracing::error!("failed to read inotify events: {error}"),
            Err(_would_block) => {}
        }
    }
}
