//! The part of a version 2 hierarchy that a service manager has given to this daemon.
//!
//! systemd marks it (`Delegate=yes`), and with `DelegateSubgroup=daemon` starts the daemon in a child of it, so that the
//! sandboxes can have other children: a cgroup that passes controllers on may have no processes of its own
//! (`cgroups(7)`, "no internal processes").

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::sys;

/// Its path below the root of the hierarchy; `None` when nobody has given one.
pub fn find(unified: &Path) -> Option<PathBuf> {
    let own = own_path(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
    let base = own.parent()?;
    let marked = File::open(unified.join(base)).ok()?;
    // Older versions of systemd have the first alone.
    let marks = [c"trusted.delegate", c"user.delegate"];
    marks.iter().any(|mark| sys::has_xattr(marked.as_fd(), mark, b"1")).then(|| base.to_owned())
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
    fn the_version_2_line_counts() {
        let hybrid = "4:memory:/other\n0::/system.slice/bivouac.service/daemon\n";
        assert_eq!(own_path(hybrid).as_deref(), Some(Path::new("system.slice/bivouac.service/daemon")));
        assert_eq!(own_path("0::/\n"), None);
        assert_eq!(own_path("0::/../elsewhere\n"), None);
    }
}
