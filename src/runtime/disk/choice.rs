//! Which way disks are bounded on this host: by projects where the file system of the sandboxes bounds them, otherwise by a
//! file system of their own.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use nix::sys::statvfs::fstatvfs;

use super::ahead::Ahead;
use super::project::{self, Project, Projects};
use super::{Bounds, DiskError, DiskSize, IMAGE, OWN_INODES, maker};
use crate::model::DiskUsage;
use crate::runtime::root::Writable;

/// The bounded disks of this host, those to come included.
#[derive(Debug)]
pub enum Disks {
    Projects(Projects),
    Loops(Ahead),
    /// What is missing for them.
    None(&'static str),
}

impl Disks {
    /// Finds out what there is for sandboxes whose directories are in `sandboxes`. Of disks that have to be made, `target` of the
    /// default size are kept ready, and as many of all other sizes that are asked for.
    ///
    /// # Errors
    /// When what an earlier daemon had prepared cannot be removed, or no thread be started.
    pub fn start(state_dir: &Path, sandboxes: &Path, target: usize, default: Option<DiskSize>) -> io::Result<Self> {
        Ahead::clear(state_dir)?;
        match Projects::open(sandboxes) {
            Ok(projects) => {
                tracing::info!("disks are bounded by project quotas of the file system of {}", sandboxes.display());
                return Ok(Self::Projects(projects));
            }
            Err(reason) if project::find(sandboxes).is_ok() => {
                tracing::warn!(reason, "there are project quotas, and disks cannot be bounded by them");
            }
            Err(reason) => tracing::debug!(reason, "disks are not bounded by project quotas"),
        }
        Ok(match maker::find() {
            Ok(mke2fs) => Self::Loops(Ahead::start(state_dir, mke2fs, target, default)?),
            Err(problem) => Self::None(problem),
        })
    }

    /// What of these bounds cannot be enforced here, in words that end "cannot enforce the ...".
    #[must_use]
    pub fn missing(&self, bounds: Bounds) -> Option<String> {
        match (self, bounds.bytes, bounds.inodes) {
            (Self::Projects(_), ..) | (_, None, None) => None,
            (_, None, Some(_)) => {
                let what = "it takes a disk limit beside it, or project quotas of the state directory's file system";
                Some(format!("inodes limit: {what}"))
            }
            (Self::Loops(_), ..) => None,
            (Self::None(problem), ..) => Some(format!("disk limit: {problem}")),
        }
    }

    /// A writable layer, root's still, for the sandbox with this directory, which has none yet; within those of the bounds that
    /// can be enforced.
    ///
    /// # Errors
    /// When a step failed; some of it may be there then.
    pub fn take(&self, dir: &Path, bounds: Bounds) -> Result<(Writable, Option<Disk>), DiskError> {
        let writable = match (self, bounds.size()) {
            (Self::Projects(projects), _) if bounds != Bounds::default() => {
                let (writable, project) = projects.make(dir, bounds)?;
                return Ok((writable, Some(Disk::Project(project))));
            }
            (Self::Loops(ahead), Some(size)) => ahead.take(&dir.join(IMAGE), size)?,
            _ => {
                let writable = Writable::below(dir);
                writable.make().map_err(DiskError::io("make directories in", dir))?;
                writable
            }
        };
        let disk = writable.mount().map(Disk::Loop);
        Ok((writable, disk))
    }

    /// Takes apart what nobody has taken, and makes no more.
    pub fn close(&self) {
        if let Self::Loops(ahead) = self {
            ahead.close();
        }
    }
}

/// The bounded disk of a sandbox.
#[derive(Debug, Clone)]
pub enum Disk {
    /// A way to its file system.
    Loop(Arc<OwnedFd>),
    Project(Project),
}

impl Disk {
    /// The one of the sandbox with this directory and root, made by an earlier daemon; `None` if it has none.
    ///
    /// # Errors
    /// When there is one, and the root cannot be opened, which tells of the same file system.
    pub fn find_again(dir: &Path, root: impl FnOnce() -> io::Result<File>) -> io::Result<Option<Self>> {
        if !dir.join(IMAGE).exists() {
            return Ok(Project::of(dir).map(Self::Project));
        }
        root().map(|root| Some(Self::Loop(Arc::new(root.into()))))
    }

    /// What is used of it, as its file system counts it.
    #[must_use]
    pub fn usage(&self) -> Option<DiskUsage> {
        let mount = match self {
            Self::Project(project) => return project.usage(),
            Self::Loop(mount) => mount,
        };
        let found = fstatvfs(mount).ok()?;
        let blocks = found.blocks().saturating_sub(found.blocks_free());
        let inodes = found.files().saturating_sub(found.files_free()).saturating_sub(OWN_INODES);
        Some(DiskUsage { bytes: blocks.saturating_mul(found.fragment_size()), inodes, complete: true })
    }

    /// What bounds it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Loop(_) => "ext4 of its own on a loop device".to_owned(),
            Self::Project(project) => format!("project {} of the state directory's file system", project.id),
        }
    }
}

/// What bounds disks below this directory, or is missing for that, in words.
///
/// # Errors
/// What is missing, and what to do.
pub fn find(dir: &Path) -> Result<String, &'static str> {
    match (project::find(dir), maker::find()) {
        (Ok(_), _) => Ok(format!("project quotas of the file system of {}", dir.display())),
        (Err(reason), Ok(program)) => {
            Ok(format!("ext4 on loop devices, made by {}; {reason} in {}", program.display(), dir.display()))
        }
        (Err(_), Err(problem)) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_enforced_is_said() {
        let none = Disks::None("there is no mke2fs");
        let bounds = |bytes, inodes| Bounds { bytes, inodes };
        assert_eq!(none.missing(Bounds::default()), None);
        assert_eq!(none.missing(bounds(Some(1), None)).as_deref(), Some("disk limit: there is no mke2fs"));
        assert!(none.missing(bounds(None, Some(1))).is_some_and(|what| what.starts_with("inodes limit: it takes")));
        let dir = tempfile::tempdir().expect("a directory");
        let (_, disk) = none.take(dir.path(), bounds(Some(1), Some(1))).expect("two directories");
        assert!(disk.is_none() && dir.path().join("upper").is_dir());
    }

    #[test]
    fn a_directory_has_the_disk_that_is_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = || File::open(dir.path());
        assert!(Disk::find_again(dir.path(), root).expect("looked").is_none());
        File::create(dir.path().join(IMAGE)).expect("made");
        let found = Disk::find_again(dir.path(), root).expect("looked").expect("a disk");
        assert!(matches!(found, Disk::Loop(_)) && found.usage().is_some(), "{found:?}");
        assert!(Disk::find_again(dir.path(), || Err(io::ErrorKind::NotFound.into())).is_err());
    }
}
