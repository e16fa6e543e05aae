//! Whether the port is free, before anything is made for those who would ask there.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};

/// Whether somebody listens there already, over UDP or TCP. The address need not be the host's; where it is not, this is whether
/// somebody listens on all addresses.
#[must_use]
pub fn is_taken(address: IpAddr) -> bool {
    let taken = |kind| matches!(try_port(SocketAddr::new(address, 53), kind), Err(Errno::EADDRINUSE));
    taken(SockType::Datagram) || taken(SockType::Stream)
}

fn try_port(address: SocketAddr, kind: SockType) -> nix::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    if kind == SockType::Stream {
        // Connections that have ended are no listeners.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

    use super::*;
    use crate::network::nft::on_trial;
    use crate::sys::trial;

    #[test]
    fn who_listens_on_all_addresses_is_seen() {
        if !trial::has_root() {
            return;
        }
        on_trial::elsewhere(|| {
            let far: [IpAddr; 2] = [[10, 211, 255, 255].into(), Ipv6Addr::new(0xfdb1, 0, 0, 0, 0, 0, 0, 1).into()];
            let taken = || far.map(is_taken);
            assert_eq!(taken(), [false; 2]);
            let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).expect("bound");
            assert_eq!(taken(), [true, false]);
            drop(udp);
            // Of both families, as many do.
            let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 53)).expect("bound");
            assert_eq!(taken(), [true; 2]);
            drop(tcp);
            assert_eq!(taken(), [false; 2]);
        });
    }
}
