//! How much a sandbox has written over its image: its writable directory, counted by walking it.
//!
//! The sandbox decides how much there is to walk. So it is never done on the way of a call that changes something, one walk
//! at a time, no more often than a share of the time allows, and up to a bound; who asks meanwhile gets the count before.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::{DiskUsage, SandboxId};

/// Some tenths of a second of work.
const MOST_ENTRIES: u64 = 200_000;
/// A count is good for this long, and for longer where it took long: walking takes no more than a twentieth of a CPU.
const FRESH: Duration = Duration::from_secs(10);
const PAUSE: u32 = 20;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The counts of all sandboxes that somebody asked about.
#[derive(Debug, Default)]
pub struct Disks {
    known: Mutex<HashMap<SandboxId, Counted>>,
    /// Whom somebody counts, or will when it is his turn.
    begun: Mutex<HashSet<SandboxId>>,
    turns: Turns,
}

/// Who walks. Others wait without holding a thread.
#[derive(Debug)]
struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    usage: Option<DiskUsage>,
    good_until: Instant,
}

impl Disks {
    /// The last count, whatever its age.
    pub fn last(&self, id: &SandboxId) -> Option<DiskUsage> {
        self.known().get(id).and_then(|counted| counted.usage)
    }

    pub fn is_fresh(&self, id: &SandboxId) -> bool {
        self.known().get(id).is_some_and(|counted| Instant::now() < counted.good_until)
    }

    /// Says whether the caller is to count: one at a time for each sandbox.
    pub fn begin(&self, id: &SandboxId) -> bool {
        self.begun().insert(id.clone())
    }

    pub fn done(&self, id: &SandboxId) {
        self.begun().remove(id);
    }

    /// Resolves when it is the caller's turn to walk. `None` never comes: nobody closes it.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.0.acquire().await.ok()
    }

    /// Counts. Blocks.
    pub fn count(&self, id: &SandboxId, dir: &Path) {
        let start = Instant::now();
        let usage = measure(dir, MOST_ENTRIES);
        let good_until = Instant::now() + FRESH.max(start.elapsed().saturating_mul(PAUSE));
        self.known().insert(id.clone(), Counted { usage, good_until });
    }

    pub fn forget(&self, id: &SandboxId) {
        self.known().remove(id);
    }

    fn begun(&self) -> MutexGuard<'_, HashSet<SandboxId>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SandboxId, Counted>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory on the way from the top to where we are.
struct Level {
    identity: (u64, u64),
    directories: Vec<CString>,
}

/// What was counted so far.
struct Count {
    usage: DiskUsage,
    most: u64,
    /// Files with several names count once.
    linked: HashSet<(u64, u64)>,
}

/// Everything below a directory, without it, and without following a link. `None` when it is not there. One directory is
/// open at a time, however deep the tree is.
fn measure(path: &Path, most: u64) -> Option<DiskUsage> {
    let top = openat(AT_FDCWD, path, DIRECTORY, Mode::empty()).ok()?;
    let usage = DiskUsage { complete: true, ..DiskUsage::default() };
    let mut count = Count { usage, most, linked: HashSet::new() };
    if walk(top, &mut count).is_err() {
        // Somebody moves directories meanwhile.
        count.usage.complete = false;
    }
    Some(count.usage)
}

fn walk(top: OwnedFd, count: &mut Count) -> nix::Result<()> {
    let mut here = top;
    let mut level = count.enter(&here)?;
    let mut above: Vec<Level> = Vec::new();
    while count.usage.complete {
        if let Some(name) = level.directories.pop() {
            match openat(&here, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Ok(below) => here = below,
                // Removed since, or replaced by something else.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(error) => return Err(error),
            }
            above.push(std::mem::replace(&mut level, count.enter(&here)?));
            continue;
        }
        let Some(parent) = above.pop() else { return Ok(()) };
        here = openat(&here, "..", DIRECTORY, Mode::empty())?;
        // Never out of the tree: `..` is the directory that we came through, or the walk ends.
        if identity(&fstat(&here)?) != parent.identity {
            return Err(Errno::EBUSY);
        }
        level = parent;
    }
    Ok(())
}

impl Count {
    /// Counts what is in a directory, and notes its directories.
    fn enter(&mut self, here: &OwnedFd) -> nix::Result<Level> {
        let mut directories = Vec::new();
        for entry in Dir::openat(here, ".", DIRECTORY, Mode::empty())?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if self.usage.inodes >= self.most {
                self.usage.complete = false;
                break;
            }
            if self.add(here, name)? {
                directories.push(name.to_owned());
            }
        }
        Ok(Level { identity: identity(&fstat(here)?), directories })
    }

    /// Says whether it is a directory.
    fn add(&mut self, here: &OwnedFd, name: &CStr) -> nix::Result<bool> {
        let about = match fstatat(here, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(false),
            about => about?,
        };
        let directory = about.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        if directory || about.st_nlink < 2 || self.linked.insert(identity(&about)) {
            self.usage.inodes += 1;
            self.usage.bytes += u64::try_from(about.st_blocks).unwrap_or(0).saturating_mul(512);
        }
        Ok(directory)
    }
}

fn identity(about: &FileStat) -> (u64, u64) {
    (about.st_dev, about.st_ino)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn files_count_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).expect("made");
        fs::write(tree.join("a/b/file"), vec![1; 100_000]).expect("written");
        fs::hard_link(tree.join("a/b/file"), tree.join("again")).expect("linked");
        symlink("/usr", tree.join("a/usr")).expect("linked");
        symlink("..", tree.join("a/b/c/up")).expect("linked");
        let usage = measure(&tree, 100).expect("there");
        let paths = ["a", "a/b", "a/b/c", "a/b/file", "a/usr", "a/b/c/up"];
        let blocks = |path: &&str| fs::symlink_metadata(tree.join(path)).expect("there").blocks() * 512;
        let bytes = paths.iter().map(blocks).sum();
        assert_eq!(usage, DiskUsage { bytes, inodes: 6, complete: true });
        assert!(measure(&tree, 3).is_some_and(|usage| !usage.complete && usage.inodes == 3));
        assert_eq!(measure(&dir.path().join("none"), 3), None);
    }

    #[test]
    fn a_deep_tree_needs_no_stack_and_no_descriptors() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut here = openat(AT_FDCWD, dir.path(), DIRECTORY, Mode::empty()).expect("opened");
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&here, "d", Mode::S_IRWXU).expect("made");
            here = openat(&here, "d", DIRECTORY, Mode::empty()).expect("opened");
        }
        assert!(measure(dir.path(), 10_000).is_some_and(|usage| usage.complete && usage.inodes == 3000));
        super::super::tree::remove(dir.path()).expect("removed");
    }

    #[test]
    fn a_count_is_kept_until_the_sandbox_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (disks, id) = (Disks::default(), SandboxId::random());
        assert!(!disks.is_fresh(&id));
        fs::write(dir.path().join("file"), "x").expect("written");
        assert!(disks.begin(&id) && !disks.begin(&id), "one at a time");
        disks.count(&id, dir.path());
        disks.done(&id);
        assert!(disks.is_fresh(&id) && disks.begin(&id));
        assert_eq!(disks.last(&id).map(|usage| usage.inodes), Some(1));
        disks.forget(&id);
        assert_eq!((disks.is_fresh(&id), disks.last(&id)), (false, None));
    }
}
