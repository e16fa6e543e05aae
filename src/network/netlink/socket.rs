//! Requests and their answers.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use thiserror::Error;

use super::message::{Answer, Message, decode};
use super::within::is_elsewhere;

/// The kernel answers while it is asked; this is for one that hangs.
const PATIENCE_SECONDS: i64 = 10;
/// A datagram of a dump is at most this long.
pub(super) const DATAGRAM: usize = 64 << 10;

/// Sockets of the packet filter that wait for the next request. To close one takes until all that was deleted is gone for good,
/// some 10 ms after a change, and holds up whoever else changes rules meanwhile (Linux 6.18, `nft_rcv_nl_event()`).
static IDLE: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
/// As many as ask at once, mostly.
const MOST_IDLE: usize = 8;

/// How often a list is asked for that changes all the time.
const DUMPS: usize = 32;

const INTERRUPTED: u16 = libc::NLM_F_DUMP_INTR as u16;
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;

/// A request that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("netlink {what}: {errno:?} ({})", .errno.desc())]
pub struct NetlinkError {
    pub what: String,
    pub errno: Errno,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes (`rtnetlink(7)`).
    Route,
    /// Tables of rules, and connections that are tracked.
    Netfilter,
}

impl Protocol {
    pub(super) fn number(self) -> SockProtocol {
        match self {
            Self::Route => SockProtocol::NetlinkRoute,
            Self::Netfilter => SockProtocol::NetlinkNetFilter,
        }
    }
}

/// Sends messages in one go, and waits until the kernel has carried them out.
///
/// # Errors
/// The first one that failed. Of a batch for the packet filter nothing has happened then; other messages are independent.
pub fn transact(protocol: Protocol, messages: &[Message]) -> Result<(), NetlinkError> {
    ask(protocol, messages).map(drop)
}

/// As [`transact`], and returns the body of every answer, fixed header included.
pub fn ask(protocol: Protocol, messages: &[Message]) -> Result<Vec<Vec<u8>>, NetlinkError> {
    let Some(last) = messages.iter().rposition(|message| message.answered) else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        // An error comes back in any case. To ask for an answer to each of a thousand would overflow the socket.
        let acknowledge = if at == last { libc::NLM_F_ACK as u16 } else { 0 };
        message.encode(&mut bytes, sequence(at), acknowledge);
    }
    let told = |errno| NetlinkError { what: messages[last].what.clone(), errno };
    // For this alone until all is answered, so that an answer that is not waited for is nobody else's.
    let socket = take(protocol).map_err(told)?;
    exchange(&socket, &bytes).map_err(told)?;
    let mut all = Vec::new();
    loop {
        for answer in receive(&socket).map_err(told)? {
            if answer.kind != ERROR {
                all.push(answer.body);
                continue;
            }
            let at = answer.sequence.checked_sub(1).map_or(last, |at| at as usize);
            match errno(&answer) {
                Some(errno) => {
                    let what = messages.get(at).map_or_else(String::new, |message| message.what.clone());
                    return Err(NetlinkError { what, errno });
                }
                None if at == last => {
                    keep(protocol, socket);
                    return Ok(all);
                }
                None => {}
            }
        }
    }
}

/// Asks for a list; returns the body of each message, fixed header included. One that changed while it was told may lack what
/// was there all the time, and is asked for again.
pub fn dump(protocol: Protocol, message: &Message) -> Result<Vec<Vec<u8>>, NetlinkError> {
    let mut left = DUMPS;
    loop {
        left -= 1;
        match dump_once(protocol, message)? {
            (all, false) => return Ok(all),
            _ if left == 0 => return Err(NetlinkError { what: message.what.clone(), errno: Errno::EINTR }),
            _ => {}
        }
    }
}

/// The list, and whether it changed meanwhile.
fn dump_once(protocol: Protocol, message: &Message) -> Result<(Vec<Vec<u8>>, bool), NetlinkError> {
    let told = |errno| NetlinkError { what: message.what.clone(), errno };
    let socket = take(protocol).map_err(told)?;
    let mut bytes = Vec::new();
    message.encode(&mut bytes, sequence(0), libc::NLM_F_DUMP as u16);
    exchange(&socket, &bytes).map_err(told)?;
    let (mut all, mut has_changed) = (Vec::new(), false);
    loop {
        for answer in receive(&socket).map_err(told)? {
            has_changed |= answer.flags & INTERRUPTED != 0;
            match answer.kind {
                DONE => {
                    keep(protocol, socket);
                    return Ok((all, has_changed));
                }
                ERROR => return errno(&answer).map_or(Ok((all, has_changed)), |errno| Err(told(errno))),
                _ => all.push(answer.body),
            }
        }
    }
}

fn sequence(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX - 1) + 1
}

fn take(protocol: Protocol) -> nix::Result<OwnedFd> {
    let idle = if is_kept(protocol) { idle().pop() } else { None };
    idle.map_or_else(|| open(protocol), Ok)
}

/// For a socket on which nothing is to be expected any more.
fn keep(protocol: Protocol, socket: OwnedFd) {
    if is_kept(protocol) {
        let mut idle = idle();
        if idle.len() < MOST_IDLE {
            idle.push(socket);
        }
    }
}

/// A socket belongs to the network namespace that it was made in.
fn is_kept(protocol: Protocol) -> bool {
    protocol == Protocol::Netfilter && !is_elsewhere()
}

fn idle() -> MutexGuard<'static, Vec<OwnedFd>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(protocol: Protocol) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol.number())?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE_SECONDS, 0))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn exchange(socket: &OwnedFd, bytes: &[u8]) -> nix::Result<()> {
    if bytes.len() > 128 << 10 {
        // As root beyond what the host allows others; the standard is 208 KiB, of which half is for the data.
        setsockopt(socket, sockopt::SndBufForce, &(bytes.len() * 2))?;
    }
    send(socket.as_raw_fd(), bytes, MsgFlags::empty()).map(drop)
}

fn receive(socket: &OwnedFd) -> nix::Result<Vec<Answer>> {
    let mut buffer = vec![0; DATAGRAM];
    let length = loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    Ok(decode(&buffer[..length]))
}

/// What an error message says; `None` is that all went well.
fn errno(answer: &Answer) -> Option<Errno> {
    let code = answer.body.first_chunk::<4>().map_or(-libc::EIO, |code| i32::from_ne_bytes(*code));
    (code != 0).then(|| Errno::from_raw(-code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_with_its_name() {
        let error = NetlinkError { what: "RTM_NEWLINK(bvk0)".into(), errno: Errno::EEXIST };
        assert_eq!(error.to_string(), "netlink RTM_NEWLINK(bvk0): EEXIST (File exists)");
    }
}
