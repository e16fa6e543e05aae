//! Ports of a sandbox, reached from the daemon.

use std::io;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};

use super::Inside;
use crate::model::NetworkMode;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("the sandbox has ended")]
    Gone,
    #[error("the sandbox has no ports of its own: its network is that of the host")]
    OfHost,
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl Inside {
    /// A connection to a port of the sandbox's own loopback, 127.0.0.1 or ::1.
    ///
    /// # Errors
    /// When the sandbox has ended or has the host's network, or nothing listens there. A backlog that is full makes it wait.
    pub async fn connect(&self, port: u16) -> Result<TcpStream, ConnectError> {
        if self.has_left() {
            return Err(ConnectError::Gone);
        }
        self.has_own_ports()?;
        self.shared.host.connect(&self.id, port).await
    }

    /// Listens on a port of the sandbox's own 127.0.0.1, in place of a program inside.
    ///
    /// # Errors
    /// When the sandbox has ended or has the host's network, or something listens there (`AddrInUse`).
    pub async fn listen(&self, port: u16, backlog: u32) -> Result<TcpListener, ConnectError> {
        self.has_own_ports()?;
        self.shared.host.listen(&self.id, port, backlog).await
    }

    /// With the network of the host, its loopback has what the host serves itself, and who may reach a port of the sandbox must
    /// not reach that.
    fn has_own_ports(&self) -> Result<(), ConnectError> {
        let shared = self.sandbox().spec.network == Some(NetworkMode::Host);
        if shared { Err(ConnectError::OfHost) } else { Ok(()) }
    }
}
