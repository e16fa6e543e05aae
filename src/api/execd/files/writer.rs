//! Content on its way to a file: what has come is written while more comes.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Bytes;
use tokio::task::JoinHandle;

/// Written at a time. Twice as much is in memory at most.
const BATCH: usize = 1 << 20;

#[derive(Debug)]
pub struct Writer {
    file: Arc<File>,
    batch: Vec<Bytes>,
    bytes: usize,
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    pub fn new(file: File) -> Self {
        Self { file: Arc::new(file), batch: Vec::new(), bytes: 0, writing: None }
    }

    pub async fn push(&mut self, bytes: Bytes) -> io::Result<()> {
        self.bytes += bytes.len();
        self.batch.push(bytes);
        if self.bytes >= BATCH { self.write().await } else { Ok(()) }
    }

    /// Everything is written.
    pub async fn finish(mut self) -> io::Result<()> {
        self.write().await?;
        self.written().await
    }

    async fn write(&mut self) -> io::Result<()> {
        self.written().await?;
        let (file, batch) = (Arc::clone(&self.file), std::mem::take(&mut self.batch));
        self.bytes = 0;
        let write = move || batch.iter().try_for_each(|bytes| file.as_ref().write_all(bytes));
        self.writing = Some(tokio::task::spawn_blocking(write));
        Ok(())
    }

    async fn written(&mut self) -> io::Result<()> {
        match self.writing.take() {
            Some(writing) => writing.await.unwrap_or_else(|lost| Err(io::Error::other(lost))),
            None => Ok(()),
        }
    }
}
