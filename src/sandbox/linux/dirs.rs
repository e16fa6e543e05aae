//! The directories of sandboxes below the state directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::tree;
use crate::model::SandboxId;
use crate::runtime::disk;

/// Whether the entrypoint's output outlives the sandbox's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    Keep,
    Remove,
}

/// `STATE/sandboxes`, mode 0700: no user of the host reaches what a sandbox wrote, least of all its setuid files.
#[derive(Debug)]
pub struct SandboxDirs {
    root: PathBuf,
}

impl SandboxDirs {
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let root = state_dir.join("sandboxes");
        make_private(&root)?;
        Ok(Self { root })
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn of(&self, id: &SandboxId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// A directory for trying things out; the caller removes it.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    pub fn make(&self, id: &SandboxId) -> io::Result<PathBuf> {
        let dir = self.of(id);
        DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(dir)
    }

    /// Removes what a sandbox has here, without following anything in it. Nothing writes there any more.
    pub fn remove(&self, id: &SandboxId, logs: Logs) -> io::Result<()> {
        let dir = self.of(id);
        let told = |error: io::Error| io::Error::new(error.kind(), format!("remove {}: {error}", dir.display()));
        // While there is something that counts, nobody else gets its number.
        let lifted = disk::lift(&dir);
        let removed = match logs {
            Logs::Remove => tree::remove(&dir),
            Logs::Keep => remove_layer(&dir),
        };
        lifted.and(removed).map_err(told)
    }

    /// The sandboxes that have a directory.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxId> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

/// The writable layer, of whichever kind it is.
fn remove_layer(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(disk::IMAGE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    ["upper", "work", disk::DIRECTORY].into_iter().try_for_each(|name| tree::remove(&dir.join(name)))
}

/// Creates the two log segments.
pub fn make_logs(dir: &Path) -> io::Result<[OwnedFd; 2]> {
    let make = |name: &str| -> io::Result<OwnedFd> {
        let file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(name))?;
        Ok(file.into())
    };
    Ok([make("log.0")?, make("log.1")?])
}

/// The topmost of the read-only layers of every root: whatever an image has at `/proc`, `/sys` and `/dev`, there these are
/// real directories to mount on.
pub fn make_skeleton(state_dir: &Path) -> io::Result<PathBuf> {
    let skeleton = state_dir.join("skeleton");
    make_private(&skeleton)?;
    // Root of the merged file system takes mode and owner from the topmost layer, which is the sandbox's own.
    // The last is for what clients of the exec API leave for later commands, whoever they run as.
    for (name, mode) in [("proc", 0o755), ("sys", 0o755), ("dev", 0o755), ("opt", 0o755), ("opt/opensandbox", 0o1777)] {
        let dir = skeleton.join(name);
        make_private(&dir)?;
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    Ok(skeleton)
}

fn make_private(dir: &Path) -> io::Result<()> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(dir);
    made.map_err(|error| io::Error::new(error.kind(), format!("make {}: {error}", dir.display())))
}

/// `/sys/devices/system/cpu/cpuN/thermal_throttle` of each CPU: a clock that tells tenants of each other's work.
pub fn thermal_paths() -> Vec<String> {
    let cpus = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let paths = cpus.map(|cpu| cpu.path().join("thermal_throttle")).filter(|path| path.is_dir());
    paths.map(|path| path.to_string_lossy().into_owned()).collect()
}
