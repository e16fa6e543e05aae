//! Ports of a sandbox, reached from the daemon.

use std::io;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};

use super::Inside;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("the sandbox has ended")]
    Gone,
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl Inside {
    /// A connection to a port of the sandbox's own loopback, 127.0.0.1 or ::1.
    ///
    /// # Errors
    /// When the sandbox has ended, or nothing listens there. A backlog that is full makes it wait.
    pub async fn connect(&self, port: u16) -> Result<TcpStream, ConnectError> {
        if self.has_left() {
            return Err(ConnectError::Gone);
        }
        self.shared.host.connect(&self.id, port).await
    }

    /// Listens on a port of the sandbox's own 127.0.0.1, in place of a program inside.
    ///
    /// # Errors
    /// When the sandbox has ended, or something listens there (`AddrInUse`).
    pub async fn listen(&self, port: u16, backlog: u32) -> Result<TcpListener, ConnectError> {
        self.shared.host.listen(&self.id, port, backlog).await
    }
}
