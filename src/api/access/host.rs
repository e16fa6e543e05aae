//! What the address of a sandbox's port begins with.

use std::fmt;
use std::str::FromStr;

use axum::http::uri::Authority;
use thiserror::Error;

/// `host[:port][/path]`: where clients find this server when it stands behind another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicHost(String);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not what an address can begin with; write host, host:port or host:port/path, without http://")]
pub struct InvalidPublicHost(String);

impl FromStr for PublicHost {
    type Err = InvalidPublicHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let path_is_plain = path.chars().all(plain) && !path.contains("//") && !path.ends_with('/');
        if is_host(host) && path_is_plain { Ok(Self(text.to_owned())) } else { Err(InvalidPublicHost(text.to_owned())) }
    }
}

impl PublicHost {
    /// The host, without port and path.
    #[must_use]
    pub fn name(&self) -> &str {
        let authority = self.0.split('/').next().unwrap_or_default();
        authority.rsplit_once(':').map_or(authority, |(name, _)| name)
    }
}

impl fmt::Display for PublicHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is a host with or without a port, and nothing more.
#[must_use]
pub fn is_host(text: &str) -> bool {
    text.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_host_is_the_beginning_of_an_address() {
        for good in ["example.com", "10.0.0.1:8080", "[::1]:80", "example.com/bivouac", "a.b:1/x/y"] {
            assert_eq!(good.parse::<PublicHost>().map(|host| host.to_string()).as_deref(), Ok(good));
        }
        assert_eq!("example.com:1/a".parse::<PublicHost>().as_ref().map(PublicHost::name), Ok("example.com"));
        for bad in ["", "http://example.com", "example.com/", "a b", "user@host", "host/a?b", "/path", "a//b", ":80"] {
            assert!(bad.parse::<PublicHost>().is_err(), "{bad}");
        }
    }
}
