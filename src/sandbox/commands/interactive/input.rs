//! What a client types.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::unix::AsyncFd;

/// The writing side of a process's standard input: a pipe, or its terminal.
#[derive(Debug, Default)]
pub struct Input {
    fd: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    taken: AtomicU64,
}

impl Input {
    pub fn new(fd: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self { fd: Mutex::new(Some(fd)), taken: AtomicU64::new(0) }
    }

    /// Writes some of the bytes, and says how many; waits for a process that does not read. Whoever gives up waiting has
    /// written nothing. When it was closed all of them are gone at once.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(fd) = self.fd() else {
            self.count(bytes.len());
            return Ok(bytes.len());
        };
        loop {
            let mut guard = fd.writable().await?;
            let closed = guard.ready().is_write_closed();
            match guard.try_io(|fd| Ok(nix::unistd::write(fd, bytes)?)) {
                Ok(Ok(written)) => {
                    self.count(written);
                    return Ok(written);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                // It is full; the input of a terminal stays so when nobody has the other side any more.
                Err(_) if closed => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(_) => {}
            }
        }
    }

    /// How many bytes this daemon has written, or thrown away.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn count(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The terminal, if it is one and open.
    pub fn fd(&self) -> Option<Arc<AsyncFd<OwnedFd>>> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn close(&self) {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
