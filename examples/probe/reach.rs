//! Who answers: `probe reach tcp ADDRESS PORT udp ADDRESS PORT ping ADDRESS 0 ...`, all at the same time.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(2);

pub fn all(arguments: &[String]) -> Value {
    let threads: Vec<_> = arguments
        .chunks(3)
        .map(|wanted| {
            let wanted = wanted.to_vec();
            std::thread::spawn(move || one(&wanted).unwrap_or_else(|error| format!("failed: {error}")))
        })
        .collect();
    json!(threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect::<Vec<_>>())
}

/// `answered: ` and what came back.
fn one(wanted: &[String]) -> Result<String, String> {
    let (kind, to) = parse(wanted)?;
    let answer = match kind {
        "tcp" => tcp(to).map_err(|error| error.to_string())?,
        "udp" => udp(to).map_err(|error| error.to_string())?,
        "ping" => ping(to).map_err(|error| error.to_string())?,
        _ => return Err("tcp|udp|ping".to_owned()),
    };
    Ok(format!("answered: {}", answer.trim()))
}

/// How to ask, and whom.
pub fn parse(wanted: &[String]) -> Result<(&str, SocketAddr), String> {
    let [kind, address, port] = wanted else { return Err("tcp|udp|ping ADDRESS PORT".to_owned()) };
    let address: IpAddr = address.parse().map_err(|error| format!("{error}"))?;
    let port: u16 = port.parse().map_err(|error| format!("{error}"))?;
    Ok((kind, SocketAddr::new(address, port)))
}

fn tcp(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn udp(to: SocketAddr) -> std::io::Result<String> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(b"?")?;
    let mut answer = [0; 200];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn ping(to: SocketAddr) -> nix::Result<String> {
    let socket = echo(to)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE.as_secs().cast_signed(), 0))?;
    let mut answer = [0; 200];
    recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(String::new())
}

/// Sends an echo request; the answer comes to the socket.
pub fn echo(to: SocketAddr) -> nix::Result<OwnedFd> {
    let (family, protocol, request) = match to {
        SocketAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        SocketAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let socket = socket(family, SockType::Datagram, SockFlag::empty(), protocol)?;
    sendto(socket.as_raw_fd(), &[request, 0, 0, 0, 0, 0, 0, 1, b'?'], &SockaddrStorage::from(to), MsgFlags::empty())?;
    Ok(socket)
}
