//! Whether this machine can run sandboxes at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// True when the test can go on. On a machine that cannot run sandboxes it says what is missing, in a line that
/// `scripts/test` counts; on one that can, whatever else is missing is a failure.
pub fn able(test: &str) -> bool {
    static MISSING: OnceLock<Vec<&str>> = OnceLock::new();
    let missing = MISSING.get_or_init(missing);
    if missing.is_empty() {
        let busybox = Path::new("/bin/busybox").exists() || Path::new("/usr/bin/busybox").exists();
        assert!(busybox, "this machine can run sandboxes, but busybox is not installed (busybox-static)");
        return true;
    }
    skip(test, &missing.join(", "));
    false
}

/// True when this program is there, of a package that `scripts/test` installs; otherwise a line as of [`able`].
pub fn installed(test: &str, program: &Path) -> bool {
    let found = program.exists();
    if !found {
        skip(test, &program.display().to_string());
    }
    found
}

/// Past the capture of libtest, which would swallow the output of a test that passes.
pub fn skip(test: &str, missing: &str) {
    drop(writeln!(io::stderr(), "SKIPPED {test}: missing {missing}"));
}

fn missing() -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root");
    }
    if !unified().is_some_and(|mount| has_freezer(&mount)) {
        missing.push("a cgroup2 mount with freezer and cgroup.kill");
    }
    missing
}

/// The mount point of the version 2 hierarchy.
pub fn unified() -> Option<PathBuf> {
    cgroup_mounts().into_iter().find(|(kind, _)| kind == "cgroup2").map(|(_, point)| point)
}

/// Every cgroup mount of the host, as kind and mount point.
pub fn cgroup_mounts() -> Vec<(String, PathBuf)> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroups = fields.filter(|fields| matches!(fields.get(2), Some(&"cgroup" | &"cgroup2")));
    cgroups.map(|fields| (fields[2].to_owned(), PathBuf::from(fields[1]))).collect()
}

/// The root of the hierarchy has no such files, so this looks where processes may be: in any child, or in a new one.
fn has_freezer(mount: &Path) -> bool {
    let trial = mount.join(format!("bivouac-trial-{}", std::process::id()));
    if fs::create_dir(&trial).is_err() {
        return false;
    }
    let found = ["cgroup.freeze", "cgroup.kill"].iter().all(|name| trial.join(name).exists());
    drop(fs::remove_dir(&trial));
    found
}
