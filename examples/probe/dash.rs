//! What gets out in the first moment: `probe dash tcp ADDRESS PORT udp ADDRESS PORT ping ADDRESS 0 ... then ...` sends one packet
//! to each, in this order and without waiting for anybody, before it does anything else. Those after `then` are asked as by
//! `probe reach`, a few times if need be: a datagram may be lost where a thousand do this.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use serde_json::{Value, json};

use crate::reach;

const MOST_ROUNDS: usize = 5;

pub fn all(arguments: &[String]) -> Value {
    let mut parts = arguments.splitn(2, |word| word == "then");
    let (first, then) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let sent: Vec<Result<OwnedFd, String>> = first.chunks(3).map(one).collect();
    // The sockets stay open meanwhile: what was not answered is sent again by the kernel.
    let mut told = reach::all(then);
    for _ in 1..MOST_ROUNDS {
        if told.as_array().is_some_and(|told| told.iter().all(is_answer)) {
            break;
        }
        told = reach::all(then);
    }
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for outcome in &sent {
        *outcomes.entry(outcome.as_ref().map_or_else(String::as_str, |_| "sent")).or_default() += 1;
    }
    json!({ "first": outcomes, "then": told })
}

fn is_answer(told: &Value) -> bool {
    told.as_str().is_some_and(|told| told.starts_with("answered"))
}

fn one(wanted: &[String]) -> Result<OwnedFd, String> {
    let (kind, to) = reach::parse(wanted)?;
    match kind {
        "tcp" => tcp(to).map_err(|error| error.to_string()),
        "udp" => udp(to).map_err(|error| error.to_string()),
        "ping" => reach::echo(to).map_err(|error| error.to_string()),
        _ => Err("tcp|udp|ping".to_owned()),
    }
}

fn tcp(to: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
    match connect(stream.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(stream),
        Err(error) => Err(error),
    }
}

fn udp(to: SocketAddr) -> std::io::Result<OwnedFd> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.send_to(b"?", to)?;
    Ok(socket.into())
}
