//! Whether this host passes packets on, from one interface to another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub const V4: &str = "/proc/sys/net/ipv4/ip_forward";
pub const V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const V6_INTERFACES: &str = "/proc/sys/net/ipv6/conf";

#[derive(Debug, Error)]
pub enum ForwardingError {
    #[error("forward packets: {path} is {found:?}, and network.enable_forwarding is false; write 1 to it")]
    Off { path: &'static str, found: String },
    #[error("switch forwarding on: {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Whether packets of a family are passed on; `None` where this host has nothing of it.
#[must_use]
pub fn is_on(path: &str) -> Option<bool> {
    fs::read_to_string(path).ok().map(|text| text.trim() != "0")
}

/// Makes sure that packets are passed on, and switches that on where it may. Returns what was changed.
pub fn ensure(v6: bool, may_change: bool) -> Result<Vec<&'static str>, ForwardingError> {
    let mut changed = Vec::new();
    for path in [Some(V4), v6.then_some(V6)].into_iter().flatten() {
        let found = fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        if found != "0" && !found.is_empty() {
            continue;
        }
        if !may_change {
            return Err(ForwardingError::Off { path, found });
        }
        if path == V6 {
            keep_routers();
        }
        write(Path::new(path), "1")?;
        changed.push(path);
    }
    Ok(changed)
}

/// A host that forwards no longer listens to the routers of its network (`ip-sysctl`, `accept_ra`), and would lose its own way
/// out; those interfaces that do listen are told to go on.
fn keep_routers() {
    for interface in fs::read_dir(V6_INTERFACES).into_iter().flatten().flatten() {
        let path = interface.path().join("accept_ra");
        let listens = fs::read_to_string(&path).is_ok_and(|text| text.trim() == "1");
        let own = matches!(interface.file_name().to_str(), Some("all" | "default" | "lo"));
        if listens
            && !own
            && let Err(error) = write(&path, "2")
        {
            tracing::warn!(%error, "an interface may lose the routes that its routers announce");
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), ForwardingError> {
    fs::write(path, text).map_err(|source| ForwardingError::Write { path: path.to_owned(), source })
}
