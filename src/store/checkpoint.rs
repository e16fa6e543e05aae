//! Moves the write-ahead log into the database, away from everyone who waits for a commit.
//!
//! Two things make SQLite call `fsync` in WAL mode: a checkpoint, and the first commit after the log was moved
//! completely, which starts the log anew with a synced header. This thread does both, the second by a write of its
//! own, and prefers a moment in which nobody writes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::{StoreError, open};

/// How often the thread looks. The log of a second of hard work is a few MiB.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// From this many writes on (about 100 MiB of log) it no longer waits for a quiet second.
const TOO_MANY: u64 = 10_000;

pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    writes: AtomicU64,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = open::connect(path)?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(&connection, &shared)
            })
            .map_err(StoreError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn note_write(&self) {
        self.shared.writes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that checkpoints the record store panicked");
        }
    }
}

impl std::fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpointer").field("writes", &self.shared.writes).finish_non_exhaustive()
    }
}

fn run(connection: &Connection, shared: &Shared) {
    let (mut seen, mut moved) = (0, 0);
    while !wait_for_stop(shared) {
        let writes = shared.writes.load(Ordering::Relaxed);
        if due(writes, seen, moved) {
            match checkpoint(connection) {
                Ok(()) => moved = writes,
                Err(error) => tracing::warn!(error = %error, "failed to checkpoint the record store"),
            }
        }
        seen = writes;
    }
}

/// Something was written since the last move, and either nobody wrote in the last round or the log gets long.
fn due(writes: u64, seen: u64, moved: u64) -> bool {
    writes != moved && (writes == seen || writes - moved > TOO_MANY)
}

fn wait_for_stop(shared: &Shared) -> bool {
    let stop = shared.stop.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = shared.stopped.wait_timeout_while(stop, LOOK_EVERY, |stop| !*stop);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    // PASSIVE takes no lock that a writer waits for; it moves what it can.
    let (in_log, moved): (i64, i64) =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    if in_log == moved {
        open::beat(connection)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_quiet_round_but_not_for_ever() {
        assert!(!due(0, 0, 0), "nothing to do");
        assert!(!due(5, 3, 0), "someone is writing");
        assert!(due(5, 5, 0), "quiet now");
        assert!(!due(5, 5, 5), "done already");
        assert!(due(TOO_MANY + 6, 7, 5), "too long a log");
    }
}
