//! By which names a server without keys may be called.
//!
//! A page can have the name that it was loaded from lead to this machine afterwards (DNS rebinding). Then it is of one origin
//! with the API, and its browser marks nothing of what it sends. But it says that name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use crate::api::error::ApiError;

/// The names beside addresses and `localhost`, in lower case and without a port.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<[String]>);

impl FromIterator<String> for Names {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }
}

impl Names {
    /// Refuses who calls this server by any other name. Who calls it by none is no browser.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut said = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let meant = said.all(|host| host.parse().is_ok_and(|host| self.has(&host)));
        if meant && uri.authority().is_none_or(|host| self.has(host)) {
            return Ok(());
        }
        let message = "A server without API keys answers only those who call it by an IP address or as localhost, because web \
                       pages could reach it by other names. Use one of these, configure a key, or add the name to [server] \
                       names.";
        Err(ApiError::new(StatusCode::FORBIDDEN, "SANDBOX::HOST_REFUSED", message))
    }

    fn has(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_address = v6.map_or(host.parse::<Ipv4Addr>().is_ok(), |v6| v6.parse::<Ipv6Addr>().is_ok());
        let named = |name: &str| host.trim_end_matches('.').eq_ignore_ascii_case(name);
        !authority.as_str().contains('@') && (is_address || named("localhost") || self.0.iter().any(|name| named(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(hosts: &[&str], uri: &str) -> bool {
        let names: Names = ["Box.example".to_owned()].into_iter().collect();
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a value"));
        }
        names.check(&uri.parse().expect("a target"), &headers).is_ok()
    }

    #[test]
    fn only_addresses_and_own_names_are_answered() {
        for host in
            ["127.0.0.1", "10.0.0.1:8080", "[::1]:80", "[fe80::1]", "localhost", "LocalHost.:1", "box.EXAMPLE:80"]
        {
            assert!(admitted(&[host], "/"), "{host}");
            assert!(admitted(&[], &format!("http://{host}/")), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "xbox.example",
            "user@localhost",
            "",
            "a b",
            "[::1",
            "[evil]",
        ] {
            assert!(!admitted(&[host], "/"), "{host}");
        }
        assert!(admitted(&[], "/"), "HTTP/1.0 has no Host");
        assert!(!admitted(&["localhost", "evil.example"], "/"));
        assert!(!admitted(&["localhost"], "http://evil.example/"));
        assert!(!admitted(&["evil.example"], "http://localhost/"));
    }
}
