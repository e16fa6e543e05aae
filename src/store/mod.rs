//! Remembers every sandbox across restarts of the daemon: one row for each, in SQLite.
//!
//! Floor 2. The calls are plain and blocking. A commit is one prepared statement and a few `write(2)` to the page
//! cache: with WAL and `synchronous=NORMAL` it does not wait for the disk (<https://sqlite.org/wal.html>). The WAL
//! is moved into the database by a [thread of its own](checkpoint), so that no caller pays the `fsync` of that.
//! Such a commit survives the end of the daemon in any way, and a power cut can lose the last of them: then
//! nothing of what they describe lives any more.

mod checkpoint;
mod error;
mod open;
mod quarantine;
mod records;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
use rusqlite::{Connection, params};

use crate::model::SandboxId;
use checkpoint::Checkpointer;

pub use error::StoreError;
pub use quarantine::{Loaded, Quarantined};
pub use records::{Deadline, Expiry, Fetching, Record};

/// The record store: `Send + Sync`, shared by everyone who writes.
#[derive(Debug)]
pub struct Store {
    writer: Mutex<Connection>,
    checkpointer: Checkpointer,
}

impl Store {
    /// Opens the store at `path`, making it (mode 0600) when it is not there.
    ///
    /// # Errors
    /// When the file is not such a store, is damaged, was written by a newer version, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = open::open(path)?;
        let checkpointer = Checkpointer::start(path)?;
        Ok(Self { writer: Mutex::new(connection), checkpointer })
    }

    /// Records a new sandbox.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when its id or its id base belongs to another record; when the write fails.
    pub fn insert(&self, record: &Record) -> Result<(), StoreError> {
        let sealed = records::seal(record)?;
        let write = |connection: &Connection| {
            connection
                .prepare_cached("INSERT INTO record (id, id_base, digest, body) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![record.id.as_str(), record.id_base, sealed.digest.as_slice(), sealed.body])
        };
        self.write(&record.id, write).map(drop)
    }

    /// Replaces the record of a sandbox.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; as [`insert`](Self::insert).
    pub fn update(&self, record: &Record) -> Result<(), StoreError> {
        let sealed = records::seal(record)?;
        let write = |connection: &Connection| {
            connection
                .prepare_cached("UPDATE record SET id_base = ?2, digest = ?3, body = ?4 WHERE id = ?1")?
                .execute(params![record.id.as_str(), record.id_base, sealed.digest.as_slice(), sealed.body])
        };
        match self.write(&record.id, write)? {
            0 => Err(StoreError::Missing { id: record.id.clone() }),
            _ => Ok(()),
        }
    }

    /// Forgets a sandbox. Forgetting one that is not there is no error.
    ///
    /// # Errors
    /// When the write fails.
    pub fn delete(&self, id: &SandboxId) -> Result<(), StoreError> {
        let write = |connection: &Connection| {
            connection.prepare_cached("DELETE FROM record WHERE id = ?1")?.execute([id.as_str()])
        };
        self.write(id, write).map(drop)
    }

    /// Reads every record. Rows that cannot be believed are moved to the quarantine table and reported, so that one
    /// bad row costs one sandbox and not the start of the daemon.
    ///
    /// # Errors
    /// When the database itself cannot be read or written.
    pub fn load_all(&self) -> Result<Loaded, StoreError> {
        quarantine::load_all(&mut self.lock())
    }

    /// The id ranges of all records, without looking at anything else in them. What no id can be is left out: such a
    /// row is [set aside](Self::load_all).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn id_bases(&self) -> Result<Vec<u32>, StoreError> {
        let connection = self.lock();
        let bases = "SELECT id_base FROM record WHERE id_base BETWEEN 0 AND 4294967295";
        let mut statement = connection.prepare(bases).map_err(StoreError::Read)?;
        let bases = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect);
        bases.map_err(StoreError::Read)
    }

    fn write(
        &self,
        id: &SandboxId,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<usize, StoreError> {
        let done =
            statement(&self.lock()).map_err(|source| match source.sqlite_error().map(|error| error.extended_code) {
                Some(SQLITE_CONSTRAINT_UNIQUE | SQLITE_CONSTRAINT_PRIMARYKEY) => StoreError::Taken { id: id.clone() },
                _ => StoreError::Write { id: id.clone(), source },
            });
        self.checkpointer.note_write();
        done
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while a statement ran leaves no half statement behind: SQLite rolls it back.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
