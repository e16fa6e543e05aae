//! Disks that are directories: the file system itself counts all files of one project, and refuses what goes beyond its limits.
//!
//! A sandbox has a project of its own, whose number stands on the directory that holds `upper` and `work`, and is inherited by
//! all that is made in there: so nothing is moved or linked from one project to another. There is no list of numbers. Which
//! one a sandbox has is read from its directory, and one that the file system counts anything of is in use, whoever uses it.
//!
//! The kernel lets whoever has `CAP_SYS_RESOURCE` go beyond the limits of ext4, and an overlay acts on its upper layer with the
//! rights of who mounted it, which is the daemon. But it does so without this one capability (Linux 4.11), and what is written
//! by a memory map counts for the process inside, which has no capability on the host. With the same rights an overlay would
//! change the number, so nobody inside may ask for that (`FORBIDDEN_IOCTLS` of the seccomp policy).
//!
//! The file system says what it refuses in its own way: ext4 with EDQUOT, xfs with ENOSPC.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::statvfs::fstatvfs;

use super::{Bounds, DIRECTORY, DiskError};
use crate::model::DiskUsage;
use crate::runtime::root::Writable;
use crate::sys::{self, OfProject, Quota};

/// Numbers of ours begin here, far above those that other programs count up from.
const FIRST: u32 = 1 << 30;
/// Each state directory has so many numbers of its own,
const BLOCK: u32 = 1 << 16;
/// and there are so many such blocks.
const BLOCKS: u32 = 1 << 14;

/// What the disk itself is: its directory, `upper`, `work`, and what an overlay makes in there (`work`, `incompat`, `volatile`,
/// `dirty`).
const OWN_INODES: u64 = 7;
/// The overlay has one file more that stands for all names that were removed. Each of them takes a block at most.
const OWN_LIMIT: u64 = OWN_INODES + 1;

/// No file system holds so much; what is more than that is the same.
const MOST_BYTES: u64 = 1 << 60;

/// The projects of a state directory.
#[derive(Debug)]
pub struct Projects {
    /// A directory of the file system.
    fs: File,
    first: u32,
    /// The number that is looked at next. Held while one is taken, which it is once a directory has it.
    next: Mutex<u32>,
}

/// Opens `dir`, when its file system bounds projects and nobody has put the directory into one.
///
/// # Errors
/// Why there will be no projects in it.
pub fn find(dir: &Path) -> Result<File, String> {
    let open = open_dir(dir).map_err(|error| format!("open {}: {error}", dir.display()))?;
    match sys::project_quotas(open.as_fd()) {
        Ok(quotas) if quotas.counted && quotas.enforced => {}
        Ok(quotas) if quotas.counted => return Err("project quotas are counted and not enforced there".to_owned()),
        _ => return Err("there are no project quotas".to_owned()),
    }
    match sys::project_of(open.as_fd()) {
        Ok(OfProject { inherited: false, .. }) => Ok(open),
        Ok(OfProject { id, .. }) => Err(format!("what is made in {} is of project {id} already", dir.display())),
        Err(error) => Err(error.to_string()),
    }
}

impl Projects {
    /// The projects for directories below `dir`. Each step is tried out with one, and limits that an earlier daemon left behind
    /// are taken off.
    ///
    /// # Errors
    /// Why there are none.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let fs = find(dir)?;
        // The number of the directory itself tells apart the daemons that share a file system. Two may still have one block:
        // what is in use is not taken.
        let about = fs.metadata().map_err(|error| error.to_string())?;
        let block = u32::try_from(about.ino() % u64::from(BLOCKS)).unwrap_or_default();
        let first = FIRST + block * BLOCK;
        let projects = Self { fs, first, next: Mutex::new(first) };
        projects.try_out(&dir.join("trial")).map_err(|error| crate::model::with_causes(&error))?;
        projects.clear();
        Ok(projects)
    }

    fn try_out(&self, trial: &Path) -> Result<(), DiskError> {
        let remove = || match lift(trial).and_then(|()| fs::remove_dir_all(trial)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DiskError::io("remove", trial)(error)),
            _ => Ok(()),
        };
        // A daemon that was killed while it tried has left its own behind.
        remove()?;
        fs::create_dir(trial).map_err(DiskError::io("make", trial))?;
        let made = self.make(trial, Bounds { bytes: Some(1 << 20), inodes: Some(1) });
        remove().and(made.map(drop))
    }

    /// Takes limits off projects of which there is nothing: somebody has removed the directories and not through a daemon.
    fn clear(&self) {
        let mut from = self.first;
        while let Ok(Some((id, quota))) = sys::next_project_quota(self.fs.as_fd(), from)
            && (from..self.first + BLOCK).contains(&id)
        {
            if is_unused(quota)
                && (quota.most_units, quota.most_inodes) != (0, 0)
                && let Err(error) = sys::limit_project(self.fs.as_fd(), id, 0, 0)
            {
                tracing::warn!(%error, "a limit that an earlier daemon left behind stays");
            }
            from = id + 1;
        }
    }

    /// Makes [`DIRECTORY`] in `dir`, bounded, with a writable layer that is root's still.
    ///
    /// # Errors
    /// When a step failed; the directory may be there then.
    pub fn make(&self, dir: &Path, bounds: Bounds) -> Result<(Writable, Project), DiskError> {
        let place = dir.join(DIRECTORY);
        DirBuilder::new().mode(0o700).create(&place).map_err(DiskError::io("make", &place))?;
        let open = open_dir(&place).map_err(DiskError::io("open", &place))?;
        let id = self.claim(&open)?;
        bound(&open, id, bounds)?;
        let writable = Writable::below(&place);
        writable.make().map_err(DiskError::io("make directories in", &place))?;
        Ok((writable, Project { dir: place, id }))
    }

    /// Gives a directory the next number of which the file system counts nothing. A number comes again only after all others.
    fn claim(&self, dir: &File) -> Result<u32, DiskError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..BLOCK {
            let id = *next;
            *next = self.after(id);
            if is_unused(sys::project_quota(dir.as_fd(), id)?) {
                sys::set_project(dir.as_fd(), id)?;
                if sys::project_of(dir.as_fd())? != (OfProject { id, inherited: true }) {
                    return Err(DiskError::NotKept { id });
                }
                // Another daemon may have taken it at the same moment.
                if sys::project_quota(dir.as_fd(), id)?.inodes == 1 {
                    return Ok(id);
                }
            }
        }
        Err(DiskError::NoProject { first: self.first })
    }

    fn after(&self, id: u32) -> u32 {
        self.first + (id - self.first + 1) % BLOCK
    }
}

fn bound(dir: &File, id: u32, bounds: Bounds) -> Result<(), DiskError> {
    let about = fstatvfs(dir).map_err(|errno| sys::SyscallError { call: "fstatvfs(disk)".to_owned(), errno })?;
    let (units, inodes) = limits(bounds, about.block_size());
    sys::limit_project(dir.as_fd(), id, units, inodes)?;
    let kept = sys::project_quota(dir.as_fd(), id)?;
    if (kept.most_units, kept.most_inodes) == (units, inodes) { Ok(()) } else { Err(DiskError::NotKept { id }) }
}

/// Room, in the units of quotas and whole blocks, and files, those of our own included; 0 is no limit.
fn limits(bounds: Bounds, block: u64) -> (u64, u64) {
    let block = block.max(sys::QUOTA_UNIT);
    let bytes = bounds.bytes.map(|bytes| bytes.min(MOST_BYTES) + OWN_LIMIT * block);
    let units = bytes.map_or(0, |bytes| bytes.div_ceil(block) * (block / sys::QUOTA_UNIT));
    (units, bounds.files().map_or(0, |files| files + OWN_LIMIT))
}

fn is_unused(quota: Quota) -> bool {
    (quota.bytes, quota.inodes) == (0, 0)
}

/// Takes the limits off the disk in `dir`, which may have none: for who removes it next. Nobody else gets its number before
/// all of it is gone.
///
/// # Errors
/// When it has limits and they stay.
pub fn lift(dir: &Path) -> io::Result<()> {
    let Some((open, id)) = own_project(&dir.join(DIRECTORY))? else { return Ok(()) };
    match sys::limit_project(open.as_fd(), id, 0, 0) {
        // Quotas have been switched off since.
        Err(error) if !matches!(error.errno, Errno::ESRCH | Errno::ENOSYS) => Err(io::Error::other(error)),
        _ => Ok(()),
    }
}

/// The directory of a disk with its number, when it is there and has one of ours.
fn own_project(place: &Path) -> io::Result<Option<(File, u32)>> {
    let open = match open_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        open => open?,
    };
    let of = sys::project_of(open.as_fd()).ok();
    let own = of.filter(|of| of.inherited && (FIRST..FIRST + BLOCKS * BLOCK).contains(&of.id));
    Ok(own.map(|of| (open, of.id)))
}

fn open_dir(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(dir)
}

/// A disk that a sandbox has.
#[derive(Debug, Clone)]
pub struct Project {
    dir: PathBuf,
    pub id: u32,
}

impl Project {
    /// The one in a sandbox's directory, if there is one.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Self> {
        let place = dir.join(DIRECTORY);
        let (_, id) = own_project(&place).ok()??;
        Some(Self { dir: place, id })
    }

    /// As the file system counts it.
    pub fn usage(&self) -> Option<DiskUsage> {
        let open = open_dir(&self.dir).ok()?;
        let quota = sys::project_quota(open.as_fd(), self.id).ok()?;
        let inodes = quota.inodes.saturating_sub(OWN_INODES);
        Some(DiskUsage { bytes: quota.bytes, inodes, complete: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_whole_blocks_with_room_for_what_is_ours() {
        let bounds = |bytes, inodes| Bounds { bytes, inodes };
        assert_eq!(limits(bounds(Some(1 << 20), Some(100)), 4096), (1024 + 32, 108));
        assert_eq!(limits(bounds(Some((1 << 20) + 1), Some(100)), 4096), (1024 + 36, 108));
        assert_eq!(limits(bounds(Some(1 << 20), Some(100)), 512), (1024 + 8, 108));
        assert_eq!(limits(bounds(Some(1 << 20), None), 4096), (1056, 64 + 8));
        assert_eq!(limits(bounds(None, Some(100)), 4096), (0, 108));
        let (units, inodes) = limits(bounds(Some(u64::MAX), Some(u64::MAX)), 65_536);
        assert!(units > 1 << 50 && inodes > 1 << 30);
    }

    #[test]
    fn numbers_stay_in_their_block_and_below_those_that_are_negative() {
        let fs = File::open("/").expect("opened");
        let first = FIRST + (BLOCKS - 1) * BLOCK;
        let projects = Projects { fs, first, next: Mutex::new(first) };
        assert_eq!(projects.after(first), first + 1);
        assert_eq!(projects.after(first + BLOCK - 1), first);
        assert_eq!(first + (BLOCK - 1), i32::MAX.unsigned_abs());
    }

    #[test]
    fn a_directory_without_a_disk_has_nothing_to_take_off() {
        let dir = tempfile::tempdir().expect("a directory");
        lift(dir.path()).expect("nothing to do");
        fs::create_dir(dir.path().join(DIRECTORY)).expect("made");
        lift(dir.path()).expect("nothing to do");
        assert!(Project::of(dir.path()).is_none());
    }
}
