//! Opens the database: its file, its settings, its tables.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::StoreError;

/// The version of the tables, kept in `user_version`. A body has a version of its own.
const SCHEMA: i64 = 1;

/// A row is found by id; a living sandbox's id range is its own, which the database itself guards. The digest is over
/// the body: a flipped bit that still parses is found too. `beat` has one row for the checkpointer to write.
const TABLES: &str = "
    CREATE TABLE record (
        id TEXT PRIMARY KEY NOT NULL,
        id_base INTEGER UNIQUE,
        digest BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE quarantine (
        seq INTEGER PRIMARY KEY,
        id, id_base, digest, body,
        problem TEXT NOT NULL,
        found_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    CREATE TABLE beat (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL) STRICT;
    INSERT INTO beat VALUES (1, 0);
";

/// The connection that every record is written through.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    make_private(path)?;
    let mut connection = connect(path)?;
    migrate(&mut connection, path)?;
    check(&connection, path)?;
    // The first commit into an empty log waits for the disk: here, and not in somebody's create. A full disk is no
    // reason not to start: sandboxes can be served and deleted, which makes room.
    if let Err(error) = beat(&connection) {
        tracing::warn!(error = %error, path = %path.display(), "failed to write to the record store");
    }
    Ok(connection)
}

/// A commit that changes nothing that matters.
pub(super) fn beat(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("UPDATE beat SET count = count + 1", [])
}

/// A connection with our settings; also used by the checkpointer.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    // NOFOLLOW: the state directory is ours alone, so a symbolic link there is not ours.
    // NO_MUTEX: each connection is used by one thread at a time, which our own mutex sees to.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let settle = || {
        let connection = Connection::open_with_flags(path, flags)?;
        // Only the checkpointer ever holds the write lock beside us, for one small commit.
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(connection)
    };
    settle().map_err(|source| classify(path, source))
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    // SQLite gives the WAL and its index the mode of the database file.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StoreError::Create { path: path.to_owned(), source }),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| classify(path, source))?;
    match found {
        0 => make_tables(connection).map_err(|source| classify(path, source)),
        SCHEMA => Ok(()),
        newer if newer > SCHEMA => Err(StoreError::Newer { path: path.to_owned(), found: newer, known: SCHEMA }),
        other => Err(StoreError::Damaged { path: path.to_owned(), detail: format!("schema version {other}") }),
    }
}

fn make_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    // One transaction, so that a daemon killed here leaves an empty file and not half a schema.
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    transaction.commit()
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|source| classify(path, source))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: path.to_owned(), detail: verdict }) }
}

fn classify(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, detail: source.to_string() },
        _ => StoreError::Open { path, source },
    }
}
