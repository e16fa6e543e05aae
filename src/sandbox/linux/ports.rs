//! The daemon's sockets in a sandbox.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use nix::sys::socket::AddressFamily;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::Inner;
use crate::guest::Guest;
use crate::sandbox::ports::ConnectError;

/// As a program inside reaches `localhost`: 127.0.0.1, then ::1.
pub async fn connect(inner: &Inner, guest: Option<Arc<Guest>>, port: u16) -> Result<TcpStream, ConnectError> {
    let guest = guest.ok_or(ConnectError::Gone)?;
    let first = dial(inner, &guest, Ipv4Addr::LOCALHOST.into(), port).await;
    match first {
        Err(ConnectError::Failed(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // A kernel without IPv6 has nothing more to say than that.
            dial(inner, &guest, Ipv6Addr::LOCALHOST.into(), port).await.map_err(|second| match second {
                ConnectError::Failed(_) => ConnectError::Failed(error),
                gone => gone,
            })
        }
        other => other,
    }
}

async fn dial(inner: &Inner, guest: &Guest, address: IpAddr, port: u16) -> Result<TcpStream, ConnectError> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = make(inner, guest, family).await?;
    let stream = socket.connect(SocketAddr::new(address, port)).await?;
    // What passes through is complete; to wait for more would cost 40 ms.
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub async fn listen(
    inner: &Inner,
    guest: Option<Arc<Guest>>,
    port: u16,
    backlog: u32,
) -> Result<TcpListener, ConnectError> {
    let guest = guest.ok_or(ConnectError::Gone)?;
    let socket = make(inner, &guest, AddressFamily::Inet).await?;
    // Connections to an earlier daemon may be waiting for their end.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket.listen(backlog)?)
}

async fn make(inner: &Inner, guest: &Guest, family: AddressFamily) -> Result<TcpSocket, ConnectError> {
    let pidfd = guest.pidfd().try_clone_to_owned()?;
    let made = inner.sockets.make(pidfd, family).await.map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => ConnectError::Gone,
        _ => error.into(),
    });
    Ok(TcpSocket::from_std_stream(made?.into()))
}
