//! The part of a version 2 hierarchy that a service manager has given to this daemon.
//!
//! systemd marks it (`Delegate=yes`), and with `DelegateSubgroup=daemon` starts the daemon in a child of it, so that the
//! sandboxes can have other children: a cgroup that passes controllers on may have no processes of its own
//! (`cgroups(7)`, "no internal processes").

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::sys;

/// What every cgroup has that nobody has given another, and what the daemon's has beside the one of the sandboxes: as a
/// process of nice -5 beside one of nice 0.
const USUAL_WEIGHT: &str = "100";
const WEIGHT: &str = "300";

/// Paths below the root of the hierarchy.
#[derive(Debug, Default)]
pub struct Given {
    pub base: PathBuf,
    /// The child of it that this process is in.
    pub own: PathBuf,
}

/// `None` when nobody has given anything.
pub fn find(unified: &Path) -> Option<Given> {
    let own = own_path(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
    let base = own.parent()?.to_owned();
    let marked = File::open(unified.join(&base)).ok()?;
    // Older versions of systemd have the first alone.
    let marks = [c"trusted.delegate", c"user.delegate"];
    let given = marks.iter().any(|mark| sys::has_xattr(marked.as_fd(), mark, b"1"));
    given.then_some(Given { base, own })
}

/// Lets the daemon go before its sandboxes where processors are short: it needs little of them, and with the weight of one
/// cgroup of two it waits for some turns of theirs each time that it has something to do. Where there is no controller, or
/// somebody has given another weight, nothing is changed.
pub fn go_first(own: &Path) {
    let file = own.join("cpu.weight");
    if !fs::read_to_string(&file).is_ok_and(|weight| weight.trim() == USUAL_WEIGHT) {
        return;
    }
    if let Err(error) = fs::write(&file, WEIGHT) {
        tracing::warn!(%error, "failed to write {}: busy sandboxes may hold up the daemon", file.display());
    }
}

/// Where this process is in the version 2 hierarchy, from its root.
fn own_path(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // In a namespace that does not show it, the path goes up and down again.
    (!path.is_empty() && !path.starts_with("..")).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_weight_is_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("cpu.weight");
        go_first(dir.path());
        assert!(!file.exists());
        for (before, after) in [("100\n", "300"), ("50\n", "50\n"), ("300\n", "300\n")] {
            fs::write(&file, before).expect("written");
            go_first(dir.path());
            assert_eq!(fs::read_to_string(&file).expect("there"), after);
        }
    }

    #[test]
    fn the_version_2_line_counts() {
        let hybrid = "4:memory:/other\n0::/system.slice/bivouac.service/daemon\n";
        assert_eq!(own_path(hybrid).as_deref(), Some(Path::new("system.slice/bivouac.service/daemon")));
        assert_eq!(own_path("0::/\n"), None);
        assert_eq!(own_path("0::/../elsewhere\n"), None);
    }
}
