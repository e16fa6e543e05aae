//! Messages with descriptors over `SOCK_SEQPACKET` Unix sockets (`unix(7)`, `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use super::error::{Result, SyscallError, told};
use super::files::adopt_fd;

/// The most descriptors that one message carries here; the kernel's own limit is 253.
const MAX_FDS: usize = 32;

/// A received message: its bytes and the descriptors that came with it, close-on-exec.
#[derive(Debug)]
pub struct Message {
    pub bytes: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

/// Sends one message. A peer that is gone is `EPIPE`, never a signal.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: MsgFlags) -> Result<()> {
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    let sent = loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags | MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    told(sent, || format!("sendmsg([{}], {} bytes, {numbers:?})", socket.as_raw_fd(), bytes.len()))?;
    Ok(())
}

/// Receives one message of at most `limit` bytes; `None` when the peer has closed.
///
/// # Errors
/// `EMSGSIZE` when the peer sent more bytes or descriptors than are taken: the message is dropped whole.
pub fn receive(socket: BorrowedFd<'_>, limit: usize, flags: MsgFlags) -> Result<Option<Message>> {
    let mut bytes = vec![0; limit];
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let call = || format!("recvmsg([{}], {limit} bytes)", socket.as_raw_fd());
    let (length, truncated, numbers) = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let received = loop {
            let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                other => break told(other, call)?,
            }
        };
        let mut numbers: Vec<RawFd> = Vec::new();
        for message in told(received.cmsgs(), call)? {
            if let ControlMessageOwned::ScmRights(list) = message {
                numbers.extend(list);
            }
        }
        (received.bytes, received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC), numbers)
    };
    let fds = numbers.into_iter().map(adopt_fd).collect::<Result<Vec<_>>>()?;
    if truncated {
        return Err(SyscallError { call: call(), errno: Errno::EMSGSIZE });
    }
    if length == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(length);
    Ok(Some(Message { bytes, fds }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("a socket pair")
    }

    #[test]
    fn bytes_and_descriptors_arrive() {
        let (left, right) = pair();
        send(left.as_fd(), b"hello", &[left.as_fd(), right.as_fd()], MsgFlags::empty()).expect("send");
        let message = receive(right.as_fd(), 16, MsgFlags::empty()).expect("receive").expect("a message");
        assert_eq!((message.bytes.as_slice(), message.fds.len()), (b"hello".as_slice(), 2));
    }

    #[test]
    fn an_oversized_message_is_refused_and_a_closed_peer_is_none() {
        let (left, right) = pair();
        send(left.as_fd(), &[1; 64], &[], MsgFlags::empty()).expect("send");
        assert_eq!(receive(right.as_fd(), 16, MsgFlags::empty()).expect_err("too big").errno, Errno::EMSGSIZE);
        drop(left);
        assert!(receive(right.as_fd(), 16, MsgFlags::empty()).expect("closed").is_none());
    }
}
