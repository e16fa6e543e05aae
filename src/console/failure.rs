//! What can go wrong for a client, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Address;
use crate::model::with_causes;

/// Each text completes "failed to ...".
#[derive(Debug, Error)]
pub enum Failure {
    #[error("reach the daemon at {address}")]
    Unreachable { address: Address, source: io::Error },
    #[error("{action}: {message} [{code}]")]
    Refused { action: String, status: u16, code: String, message: String },
    #[error("{action}: the connection to the daemon broke")]
    Broken { action: String, source: hyper::Error },
    #[error("{action}: the daemon's answer makes no sense ({problem}); is it of another version?")]
    Unreadable { action: String, problem: String },
    #[error("find a sandbox whose name is, or whose id begins with, {text:?}")]
    NoSuchSandbox { text: String },
    #[error("tell which sandbox {text:?} is, it fits: {}", candidates.join(", "))]
    Ambiguous { text: String, candidates: Vec<String> },
    #[error("{action}: {path}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{action}: {problem}")]
    Unusable { action: String, problem: String },
    #[error("write the output")]
    Output(#[from] io::Error),
}

impl Failure {
    /// One line: what failed, every cause, and what the user can do.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("bivouac: failed to {}", with_causes(self));
        if let Some(advice) = self.advice() {
            line.push_str("; ");
            line.push_str(&advice);
        }
        line
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Unreachable { address, source } => advice_to_connect(address, source.kind()),
            Self::Refused { status: 401, .. } => {
                Some("give the key in BIVOUAC_API_KEY, or in a file with --api-key-file".to_owned())
            }
            Self::NoSuchSandbox { .. } => Some("`bivouac list` shows what there is".to_owned()),
            Self::Ambiguous { .. } => Some("give more of the id".to_owned()),
            _ => None,
        }
    }

    /// Whether the daemon is only away, as while it is restarted.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            Self::Broken { .. } | Self::Refused { status: 503, .. } => true,
            _ => false,
        }
    }

    /// Whether the reader of our output went away, as `head` does: no reason to complain.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn advice_to_connect(address: &Address, kind: io::ErrorKind) -> Option<String> {
    match (address, kind) {
        (Address::Unix(path), io::ErrorKind::PermissionDenied) => Some(format!(
            "{} is for root and the members of the group of the socket: use sudo, or join the group bivouac",
            path.display()
        )),
        (Address::Unix(_), _) => {
            Some("is the daemon running? start it as root with `bivouac serve`, or name another with --host".to_owned())
        }
        (Address::Tcp(_), _) => Some(format!(
            "is the daemon running there? it listens on TCP when started with `bivouac serve --listen {address}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(address: &str, kind: io::ErrorKind) -> String {
        let address = address.parse().expect("an address");
        Failure::Unreachable { address, source: io::Error::from(kind) }.line()
    }

    #[test]
    fn a_daemon_that_cannot_be_reached_says_what_to_do() {
        assert!(unreachable("unix:/run/b.sock", io::ErrorKind::NotFound).contains("bivouac serve"));
        assert!(unreachable("unix:/run/b.sock", io::ErrorKind::PermissionDenied).contains("sudo"));
        assert!(unreachable("tcp:127.0.0.1:1", io::ErrorKind::ConnectionRefused).contains("--listen tcp:127.0.0.1:1"));
    }

    #[test]
    fn a_missing_key_says_how_to_give_it() {
        let failure = Failure::Refused {
            action: "list the sandboxes".to_owned(),
            status: 401,
            code: "MISSING_API_KEY".to_owned(),
            message: "no key".to_owned(),
        };
        let line = failure.line();
        assert!(line.starts_with("bivouac: failed to list the sandboxes: no key [MISSING_API_KEY]; "), "{line}");
        assert!(line.contains("BIVOUAC_API_KEY"), "{line}");
    }
}
