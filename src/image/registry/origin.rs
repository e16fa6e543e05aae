//! Where requests go: scheme, host and port. Credentials belong to one of these and to no other.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// The origin of a URL (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub https: bool,
    /// In lower case; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// Of an absolute URL without user information.
    pub fn of(uri: &Uri) -> Result<Self, &'static str> {
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err("it is no http or https address"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err("it names no host");
        }
        Ok(Self { https, host, port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }) })
    }

    /// From `host` or `host:port`.
    pub fn of_host(text: &str, https: bool) -> Self {
        let (host, port) = match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, port),
            _ => (text, if https { 443 } else { 80 }),
        };
        Self { https, host: host.to_ascii_lowercase(), port }
    }

    /// Whether a list of `host` and `host:port` names it.
    pub fn is_listed(&self, list: &[String]) -> bool {
        list.iter().any(|entry| {
            let entry = entry.to_ascii_lowercase();
            entry == self.host || entry == format!("{}:{}", self.host, self.port)
        })
    }

    /// Whether its name says that it is this host.
    pub fn is_this_host(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|address| address.is_loopback())
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        let usual = if self.https { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port == usual {
            true => write!(f, "{scheme}://{host}"),
            false => write!(f, "{scheme}://{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let of = |text: &str| Origin::of(&text.parse().expect("a URI"));
        assert_eq!(of("https://A.example/x").expect("fine"), Origin::of_host("a.example", true));
        assert_eq!(of("http://a.example:8080/x").expect("fine").to_string(), "http://a.example:8080");
        assert_eq!(of("https://[::1]:5000/").expect("fine").to_string(), "https://[::1]:5000");
        assert!(of("https://u:p@a.example/").is_err());
        assert!(of("ftp://a.example/").is_err());
        assert!(of("/x").is_err());
        assert!(of("http://127.1.2.3/").expect("fine").is_this_host());
        assert!(!of("http://localhost.example/").expect("fine").is_this_host());
    }

    #[test]
    fn a_list_may_name_the_port() {
        let origin = Origin::of_host("r.example:5000", true);
        let listed = |entry: &str| origin.is_listed(&[entry.to_owned()]);
        assert!(listed("r.example") && listed("R.example:5000"));
        assert!(!listed("r.example:5001") && !listed("example"));
    }
}
