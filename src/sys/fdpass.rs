//! Messages with descriptors over `SOCK_SEQPACKET` Unix sockets (`unix(7)`, `SCM_RIGHTS`).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::error::{Result, SyscallError, checked, told};

/// The most descriptors that one message carries here; the kernel's own limit is 253.
const MAX_FDS: usize = 32;
// SAFETY: computes a length from a length.
const CONTROL_BYTES: usize = unsafe { libc::CMSG_SPACE((MAX_FDS * size_of::<RawFd>()) as libc::c_uint) } as usize;

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
    // Words, because the kernel wants control messages aligned.
    let mut space = [0_usize; CONTROL_BYTES.div_ceil(size_of::<usize>())];
    let mut slice = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: limit };
    // SAFETY: msghdr is integers and pointers, for which all-zero is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut slice, 1);
    (header.msg_control, header.msg_controllen) = (space.as_mut_ptr().cast(), CONTROL_BYTES as _);
    let flags = (flags | MsgFlags::MSG_CMSG_CLOEXEC).bits();
    let length = loop {
        // SAFETY: `header` points at `bytes` and `space` with their lengths; both live across the call, which writes there.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
        match checked(result as libc::c_long, || format!("recvmsg([{}], {limit} bytes)", socket.as_raw_fd())) {
            Err(error) if error.errno == Errno::EINTR => {}
            other => break other?,
        }
    };
    // First of all, so that whatever is wrong with the message, the descriptors that came with it are closed.
    let fds = received_fds(&header);
    if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        let call = format!("recvmsg([{}], {limit} bytes)", socket.as_raw_fd());
        return Err(SyscallError { call, errno: Errno::EMSGSIZE });
    }
    if length == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(usize::try_from(length).unwrap_or_default());
    Ok(Some(Message { bytes, fds }))
}

/// The descriptors in the control messages that the kernel has written, also when there was no room for all of them.
/// (`nix` gives none then, and those that did arrive would stay open for ever.)
fn received_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel has just filled the control buffer that `header` points at and set its length, which is what the
    // CMSG macros walk by; each one is either null or lies within the buffer.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, see above.
        let control = unsafe { *message };
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes a length from none.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (control.cmsg_len as usize).saturating_sub(head) / size_of::<RawFd>();
            // SAFETY: the data of this message follows its head.
            let data = unsafe { libc::CMSG_DATA(message) }.cast::<RawFd>();
            // SAFETY: SCM_RIGHTS carries `count` numbers, unaligned at worst, of descriptors that only we have.
            fds.extend((0..count).map(|at| unsafe { OwnedFd::from_raw_fd(data.add(at).read_unaligned()) }));
        }
        // SAFETY: `message` is one of the buffer's messages.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    fds
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

    #[test]
    fn too_many_descriptors_are_refused_and_none_of_them_stays_open() {
        let (left, right) = pair();
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let copies: Vec<OwnedFd> = (0..40).map(|_| writer.try_clone().expect("a copy")).collect();
        let fds: Vec<BorrowedFd<'_>> = copies.iter().map(AsFd::as_fd).collect();
        send(left.as_fd(), b"x", &fds, MsgFlags::empty()).expect("send");
        assert_eq!(receive(right.as_fd(), 16, MsgFlags::empty()).expect_err("too many").errno, Errno::EMSGSIZE);
        drop(fds);
        drop((copies, writer));
        // The pipe ends only when nobody holds its other end any more.
        assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0));
    }
}
