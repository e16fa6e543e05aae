//! What the path of a request to a sandbox's port says.

use axum::http::HeaderName;

use crate::model::SandboxId;

/// Where clients look for the exec API.
pub const EXEC_PORT: u16 = 44772;
/// Where clients look for the egress API.
pub const EGRESS_PORT: u16 = 18080;

/// The header in which clients send the token of a port.
#[must_use]
pub fn token_header(port: u16) -> HeaderName {
    HeaderName::from_static(match port {
        EXEC_PORT => "x-execd-access-token",
        EGRESS_PORT => "opensandbox-egress-auth",
        _ => "opensandbox-secure-access",
    })
}

/// A port of a sandbox, and what is asked of it.
///
/// Read from the path as it was sent, by the check of who is let in and by what carries the request on alike, so that the
/// two cannot mean different ports: where anything of id or port is percent-encoded or spelled in another way, there is no
/// target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    pub id: SandboxId,
    /// The port that the caller must have access to.
    pub door: u16,
    /// The port that is meant: another than [`door`](Self::door) for the exec API's own `/proxy/{port}`.
    pub port: u16,
    pub way: Way<'a>,
    /// The path up to the port.
    pub prefix: &'a str,
    /// The path after the port: empty, or begins with a slash.
    pub rest: &'a str,
}

/// How the path leads to the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'a> {
    /// `/sandboxes/{id}/proxy/{port}`
    Plain,
    /// `/sandboxes/{id}/signed/{address}/{port}`
    Signed(&'a str),
}

impl<'a> Target<'a> {
    /// The target of a path (without a query) that leads to a port.
    #[must_use]
    pub fn of(path: &'a str) -> Option<Self> {
        let below = path.strip_prefix("/v1").unwrap_or(path).strip_prefix("/sandboxes/")?;
        let (id, below) = below.split_once('/')?;
        let (way, below) = below.split_once('/')?;
        let (way, below) = match way {
            "proxy" => (Way::Plain, below),
            "signed" => {
                let (address, below) = below.split_once('/')?;
                (Way::Signed(address), below)
            }
            _ => return None,
        };
        let (door, rest) = leading_port(below)?;
        let inner = rest.strip_prefix("/proxy/").filter(|_| door == EXEC_PORT).and_then(leading_port);
        let (port, rest) = inner.unwrap_or((door, rest));
        let prefix = path.get(..path.len() - rest.len())?;
        Some(Self { id: id.parse().ok()?, door, port, way, prefix, rest })
    }

    /// Whether a program of the user listens there, and not we.
    #[must_use]
    pub fn is_of_user(&self) -> bool {
        !matches!(self.door, EXEC_PORT | EGRESS_PORT)
    }
}

/// A port in its one spelling, and what follows it.
fn leading_port(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let port = digits.parse().ok().filter(|_| plain)?;
    Some((port, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b5e5d5e-6f70-4a39-9d3e-2f0f3c9f6f11";

    fn read(path: &str) -> Option<(u16, u16, String, String)> {
        let path = path.replace("ID", ID);
        Target::of(&path).map(|target| (target.door, target.port, target.prefix.to_owned(), target.rest.to_owned()))
    }

    #[test]
    fn paths_lead_to_ports() {
        let prefix = |text: &str| text.replace("ID", ID);
        for (path, door, port, before, rest) in [
            ("/sandboxes/ID/proxy/80", 80, 80, "/sandboxes/ID/proxy/80", ""),
            ("/v1/sandboxes/ID/proxy/80/", 80, 80, "/v1/sandboxes/ID/proxy/80", "/"),
            ("/v1/sandboxes/ID/proxy/65535//a/../%2e", 65535, 65535, "/v1/sandboxes/ID/proxy/65535", "//a/../%2e"),
            ("/sandboxes/ID/proxy/80/proxy/81", 80, 80, "/sandboxes/ID/proxy/80", "/proxy/81"),
            ("/sandboxes/ID/proxy/44772/ping", 44772, 44772, "/sandboxes/ID/proxy/44772", "/ping"),
            ("/sandboxes/ID/proxy/44772/proxy/81/x", 44772, 81, "/sandboxes/ID/proxy/44772/proxy/81", "/x"),
            ("/sandboxes/ID/signed/a-b/80/x", 80, 80, "/sandboxes/ID/signed/a-b/80", "/x"),
        ] {
            assert_eq!(read(path), Some((door, port, prefix(before), rest.to_owned())), "{path}");
        }
    }

    #[test]
    fn there_is_one_spelling() {
        for path in [
            "/sandboxes/ID/proxy/0",
            "/sandboxes/ID/proxy/080",
            "/sandboxes/ID/proxy/65536",
            "/sandboxes/ID/proxy/+80",
            "/sandboxes/ID/proxy/-1",
            "/sandboxes/ID/proxy/80@host/x",
            "/sandboxes/ID/proxy/%38%30",
            "/sandboxes/ID/proxy//80",
            "/sandboxes/ID/proxy",
            "/sandboxes/%49D/proxy/80",
            "/sandboxes//proxy/80",
            "/v1/v1/sandboxes/ID/proxy/80",
            "/sandboxes/ID/endpoints/80",
            "/sandboxes/ID/signed/80",
            "//sandboxes/ID/proxy/80",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
        assert_eq!(Target::of(&format!("/sandboxes/{}/proxy/80", ID.to_uppercase())), None);
    }
}
