//! Whom to ask further.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::Question;

/// As the resolver of the C library waits before it asks the next one, less a bit: it must not give up before us.
const PATIENCE: Duration = Duration::from_secs(2);
const HOST_FILE: &str = "/etc/resolv.conf";
/// How long what the host's file says is believed without a look.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Upstreams {
    /// Those of the operator; empty is whom the host asks.
    fixed: Vec<SocketAddr>,
    host: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Upstreams {
    #[must_use]
    pub fn new(resolvers: &[IpAddr]) -> Self {
        Self::at(resolvers.iter().map(|address| SocketAddr::new(*address, 53)).collect())
    }

    #[must_use]
    pub fn at(fixed: Vec<SocketAddr>) -> Self {
        Self { fixed, host: Mutex::default() }
    }

    /// Asks one after the other until somebody answers.
    pub async fn ask(&self, question: &Question, over_tcp: bool) -> Option<Vec<u8>> {
        for upstream in self.list() {
            let id = (uuid::Uuid::new_v4().as_u128() & 0xffff) as u16;
            let asked = async {
                if over_tcp { by_tcp(upstream, question, id).await } else { by_udp(upstream, question, id).await }
            };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%upstream, %error, "a resolver could not be asked"),
                Err(_) => tracing::debug!(%upstream, "a resolver does not answer"),
            }
        }
        None
    }

    fn list(&self) -> Vec<SocketAddr> {
        if !self.fixed.is_empty() {
            return self.fixed.clone();
        }
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        match &*host {
            Some((at, list)) if at.elapsed() < FRESH => list.clone(),
            _ => {
                let list = nameservers(&std::fs::read_to_string(HOST_FILE).unwrap_or_default());
                *host = Some((Instant::now(), list.clone()));
                list
            }
        }
    }
}

/// The `nameserver` lines of `resolv.conf(5)`; of each no more than the C library asks.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    lines.take(3).map(|address| SocketAddr::new(address, 53)).collect()
}

/// From a port of its own, so that an answer has to guess both port and id.
async fn by_udp(upstream: SocketAddr, question: &Question, id: u16) -> io::Result<Vec<u8>> {
    let any: IpAddr = if upstream.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(&question.under(id)).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = question.answer(id, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(upstream: SocketAddr, question: &Question, id: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_framed(&mut stream, &question.under(id)).await?;
    let answer = read_framed(&mut stream).await?;
    question.answer(id, &answer).ok_or_else(|| io::Error::other("an answer to another question"))
}

/// A message with its length before it.
pub async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

pub async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::Error::other("a message over 64 KiB"))?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_says_whom_to_ask() {
        let text =
            "# a comment\nsearch x\nnameserver 127.0.0.53\nnameserver\tfd00::1 \nnameserver nobody\noptions edns0\n";
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[fd00::1]:53"]);
        assert!(nameservers("").is_empty());
    }
}
