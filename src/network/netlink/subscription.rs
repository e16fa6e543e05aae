//! Being told of changes that others make.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockType, bind, recv, setsockopt, socket, sockopt,
};

use super::message::decode;
use super::socket::{DATAGRAM, NetlinkError, Protocol};

/// What may wait to be read; when it is more, the kernel says that some was lost.
const ROOM: usize = 1 << 20;

/// Groups of changes, as a mask: the number of a group counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups(pub u32);

impl Groups {
    /// `NFNLGRP_NFTABLES`
    pub const RULES: Self = Self(1 << 6);
    /// `RTNLGRP_IPV4_ROUTE` and `RTNLGRP_IPV6_ROUTE`
    pub const ROUTES: Self = Self(1 << 6 | 1 << 10);
}

/// A change: its kind, and the body with the fixed header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: u16,
    pub body: Vec<u8>,
}

/// A socket that is told of changes.
#[derive(Debug)]
pub struct Subscription(OwnedFd);

impl Subscription {
    /// # Errors
    /// As the calls.
    pub fn open(protocol: Protocol, groups: Groups) -> Result<Self, NetlinkError> {
        let told = |errno| NetlinkError { what: format!("subscribe to {protocol:?}"), errno };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol.number()).map_err(told)?;
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM).map_err(told)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.0)).map_err(told)?;
        Ok(Self(socket))
    }

    /// The changes since the last look, in order; `None` when there were too many to be kept.
    pub fn changes(&self) -> Option<Vec<Change>> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; DATAGRAM]);
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let read = decode(&buffer[..length]).into_iter();
                    all.extend(read.map(|answer| Change { kind: answer.kind, body: answer.body }));
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Some(all),
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Subscription {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
