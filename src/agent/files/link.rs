//! Symbolic links.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::failure::{Named, Outcome};
use super::path::Spot;

/// Takes the place of a file or of another link.
pub fn link(path: &Path, target: &str) -> Outcome<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).named("make the directory", parent)?;
    }
    let spot = Spot::of(path)?;
    match symlinkat(target, &spot.dir, spot.name.as_os_str()) {
        Err(Errno::EEXIST) => {
            unlinkat(&spot.dir, spot.name.as_os_str(), UnlinkatFlags::NoRemoveDir).named("replace", path)?;
            symlinkat(target, &spot.dir, spot.name.as_os_str()).named("make the link", path)
        }
        other => other.named("make the link", path),
    }
}
