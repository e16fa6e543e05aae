//! Where a daemon listens and a client connects: `unix:/path` or `tcp:host:port`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// The address of the API. The socket is the default on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not an address: {problem}")]
pub struct InvalidAddress {
    pub text: String,
    pub problem: &'static str,
}

/// Longest path that fits `sockaddr_un` with its final zero (`unix(7)`).
const LONGEST_SOCKET_PATH: usize = 107;

impl Address {
    pub const DEFAULT: &str = "unix:/run/bivouac/bivouac.sock";
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text.split_once(':') {
            Some(("unix", path)) => socket_path(path).map(Self::Unix),
            Some(("tcp", rest)) => host_and_port(rest.strip_prefix("//").unwrap_or(rest)).map(Self::Tcp),
            _ => Err("write unix:/run/bivouac/bivouac.sock or tcp:127.0.0.1:8080"),
        };
        parsed.map_err(|problem| InvalidAddress { text: text.to_owned(), problem })
    }
}

fn socket_path(text: &str) -> Result<PathBuf, &'static str> {
    // `unix:///run/x.sock` is how URLs write it; both forms name the same file.
    let path = match text.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        _ => text,
    };
    if !path.starts_with('/') {
        return Err("the socket's path must be absolute, as in unix:/run/bivouac/bivouac.sock");
    }
    if path.len() > LONGEST_SOCKET_PATH {
        return Err("the kernel takes at most 107 bytes for the path of a socket");
    }
    Ok(PathBuf::from(path))
}

/// Names other than `localhost` are not resolved: the static program has no resolver of the host's in it.
fn host_and_port(text: &str) -> Result<SocketAddr, &'static str> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    match text.rsplit_once(':') {
        Some(("localhost", port)) => {
            let port = port.parse().map_err(|_| "the port must be a number up to 65535")?;
            Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        }
        Some(_) => Err("the host must be an IP address or localhost, and the port a number, as in tcp:127.0.0.1:8080"),
        None => Err("the port is missing, as in tcp:127.0.0.1:8080"),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for (text, shown) in [
            ("unix:/run/b.sock", "unix:/run/b.sock"),
            ("unix:///run/b.sock", "unix:/run/b.sock"),
            ("tcp:127.0.0.1:8080", "tcp:127.0.0.1:8080"),
            ("tcp://127.0.0.1:8080", "tcp:127.0.0.1:8080"),
            ("tcp:[::1]:80", "tcp:[::1]:80"),
            ("tcp:localhost:80", "tcp:127.0.0.1:80"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(shown), "{text}");
        }
        assert_eq!(Address::DEFAULT.parse::<Address>().map(|a| a.to_string()).as_deref(), Ok(Address::DEFAULT));
    }

    #[test]
    fn what_is_not_an_address_is_explained() {
        let long = format!("unix:/{}", "x".repeat(107));
        for bad in
            ["", "/run/b.sock", "unix:", "unix:b.sock", "tcp:", "tcp:80", "tcp:host:80", "tcp:localhost:99999", &long]
        {
            let refused = bad.parse::<Address>().expect_err(bad);
            assert!(refused.to_string().contains("is not an address: "), "{refused}");
        }
    }
}
