//! Programs that the tests need.

use std::path::Path;

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&str], dir: &Path) {
    let done = std::process::Command::new(program).args(args).current_dir(dir).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs it"));
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}
