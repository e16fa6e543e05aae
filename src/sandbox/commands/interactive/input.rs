//! What a client types.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::unix::AsyncFd;

/// The writing side of a process's standard input: a pipe, or its terminal.
#[derive(Debug, Default)]
pub struct Input(Mutex<Option<Arc<AsyncFd<OwnedFd>>>>);

impl Input {
    pub fn new(fd: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self(Mutex::new(Some(fd)))
    }

    /// Writes everything; waits for a process that does not read. Nothing when it was closed.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(fd) = self.fd() else { return Ok(()) };
        while !bytes.is_empty() {
            let mut guard = fd.writable().await?;
            match guard.try_io(|fd| Ok(nix::unistd::write(fd, bytes)?)) {
                Ok(Ok(written)) => bytes = bytes.get(written..).unwrap_or_default(),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                // It is full.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The terminal, if it is one and open.
    pub fn fd(&self) -> Option<Arc<AsyncFd<OwnedFd>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
