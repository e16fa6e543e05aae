//! What can go wrong with the record store.

use std::path::PathBuf;

use thiserror::Error;

use crate::model::SandboxId;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("open the record store {}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("create the record store {}", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("open the record store {}: it is not an SQLite database; move it away to start with no sandboxes", path.display())]
    NotADatabase { path: PathBuf },
    #[error("open the record store {}: it is damaged ({detail}); move it away to start with no sandboxes", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "open the record store {}: it has schema version {found} and this program knows up to {known}; run the newer bivouac",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("record sandbox {id}: its id or its id range belongs to another record")]
    Taken { id: SandboxId },
    #[error("record sandbox {id}: it has no record")]
    Missing { id: SandboxId },
    #[error("record sandbox {id}")]
    Write { id: SandboxId, source: rusqlite::Error },
    #[error("record sandbox {id}: encode it")]
    Encode { id: SandboxId, source: serde_json::Error },
    #[error("read the records")]
    Read(#[source] rusqlite::Error),
    #[error("start the thread that moves the log of the record store into it")]
    Thread(#[source] std::io::Error),
}
