//! A writable layer of bounded size, on whatever file system the state directory is on: an ext4 file system of its own, in a
//! sparse file, on a loop device.
//!
//! The kernel refuses what goes beyond it with ENOSPC, bytes and files alike. What is not used takes no room. Making a file
//! system takes a program and some 20 ms, so one of each size is made once and copied, which is a few hundred KiB. Mount and
//! device belong to nobody but the sandbox's root and end with it, also when no daemon is there.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::unistd::{Whence, lseek};
use thiserror::Error;

use crate::sys::{self, FsContext, MountAttr, SyscallError};

/// Sizes that are kept; who asks for more different ones waits for a new one each time.
const MOST_TEMPLATES: usize = 16;
/// Bytes of an inode in the table.
const INODE_BYTES: u64 = 256;
/// A file for each so many bytes, when nothing else is asked: what mke2fs takes.
const BYTES_FOR_A_FILE: u64 = 16 << 10;
/// Inodes that the file system and the overlay take for themselves.
pub const OWN_INODES: u64 = 16;
const BLOCK: u64 = 4096;
/// Blocks that a block of bits can tell of.
const GROUP: u64 = 8 * BLOCK * BLOCK;

/// What a sandbox may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSize {
    pub bytes: u64,
    /// Files and directories.
    pub inodes: Option<u64>,
}

impl DiskSize {
    fn inodes(self) -> u64 {
        let most = u64::from(u32::MAX) / 2;
        self.inodes.unwrap_or(self.bytes / BYTES_FOR_A_FILE).clamp(1, most) + OWN_INODES
    }

    /// So large that `bytes` are left when the file system has taken what it needs: the inodes, and two blocks of bits and
    /// a share of the table of groups for each group.
    fn whole(self) -> u64 {
        // The kernel holds back this much for what it has promised to write.
        let promised = (self.bytes / 50).min(4096 * BLOCK);
        let plain = self.bytes + promised + self.inodes() * INODE_BYTES;
        let groups = plain.div_ceil(GROUP);
        (plain + (groups * 3 + 16) * BLOCK).next_multiple_of(BLOCK)
    }
}

#[derive(Debug, Error)]
pub enum DiskError {
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("make a file system of {bytes} bytes: mke2fs: {told}")]
    Make { bytes: u64, told: String },
    #[error(transparent)]
    Syscall(#[from] SyscallError),
}

impl DiskError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Makes bounded disks.
#[derive(Debug)]
pub struct DiskMaker {
    templates: PathBuf,
    /// The program, or what is missing.
    mke2fs: Result<PathBuf, &'static str>,
    /// One file system is made at a time.
    making: Mutex<()>,
}

/// What bounds a disk here, or what is missing for that.
pub fn find() -> Result<PathBuf, &'static str> {
    if !Path::new("/dev/loop-control").exists() {
        return Err("there is no /dev/loop-control (modprobe loop)");
    }
    let places = ["/usr/sbin/mke2fs", "/sbin/mke2fs", "/usr/local/sbin/mke2fs", "/usr/bin/mke2fs"];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or("there is no mke2fs (package e2fsprogs)")
}

impl DiskMaker {
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { templates: state_dir.join("disks"), mke2fs: find(), making: Mutex::new(()) }
    }

    /// Why no disk can be bounded here.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        self.mke2fs.as_ref().err().copied()
    }

    /// Makes a template ahead, so that the first who asks for this size need not wait for it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self, size: DiskSize) -> Result<(), DiskError> {
        self.template(size).map(drop)
    }

    /// Makes `image`, which must not be there, and mounts it, detached. The mount keeps the device, and the device the
    /// file; the file may be removed at any time.
    ///
    /// # Errors
    /// When a step failed; `image` may be there then.
    pub fn mount(&self, image: &Path, size: DiskSize) -> Result<OwnedFd, DiskError> {
        let template = self.template(size)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(image);
        let file = file.map_err(DiskError::io("make", image))?;
        copy_sparse(&template, &file).map_err(|errno| DiskError::io("fill", image)(errno.into()))?;
        let device = sys::attach_loop(file.as_fd())?;
        let context = FsContext::open(c"ext4")?;
        let source = CString::new(device.path.as_os_str().as_bytes()).unwrap_or_default();
        context.string(c"source", &source)?;
        // What is deleted inside is given back to the host.
        context.flag(c"discard")?;
        Ok(context.mount(MountAttr::NO_DEV)?)
    }

    fn template(&self, size: DiskSize) -> Result<File, DiskError> {
        let path = self.templates.join(format!("{}-{}.ext4", size.bytes, size.inodes()));
        if let Ok(file) = File::open(&path) {
            return Ok(file);
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            self.make(&path, size)?;
        }
        File::open(&path).map_err(DiskError::io("open", &path))
    }

    fn make(&self, path: &Path, size: DiskSize) -> Result<(), DiskError> {
        let dir = &self.templates;
        DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(DiskError::io("make", dir))?;
        self.make_room();
        // What was begun and not finished never has the name.
        let part = path.with_extension("part");
        let made = File::create(&part).and_then(|file| file.set_len(size.whole()));
        made.map_err(DiskError::io("make", &part))?;
        let program = self.mke2fs.as_deref().unwrap_or(Path::new("mke2fs"));
        let output = Command::new(program)
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-I", "256"])
            .args(["-O", "^has_journal,^resize_inode,^metadata_csum,uninit_bg,sparse_super2"])
            .args(["-E", "packed_meta_blocks=1,num_backup_sb=0,root_owner=0:0"])
            .args(["-N", &size.inodes().to_string()])
            .arg(&part)
            .stdin(Stdio::null())
            .env_clear()
            .output()
            .map_err(DiskError::io("run", program))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            drop(fs::remove_file(&part));
            return Err(DiskError::Make { bytes: size.bytes, told });
        }
        fs::rename(&part, path).map_err(DiskError::io("name", path))
    }

    /// The one that was not made for longest goes.
    fn make_room(&self) {
        let entries = fs::read_dir(&self.templates).into_iter().flatten().flatten();
        let dated = entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())));
        let mut all: Vec<_> = dated.collect();
        all.sort();
        let many = (all.len() + 1).saturating_sub(MOST_TEMPLATES);
        all.into_iter().take(many).for_each(|(_, path)| drop(fs::remove_file(path)));
    }
}

/// Copies what is written in `from`; the holes stay holes.
fn copy_sparse(from: &File, to: &File) -> nix::Result<()> {
    let size = from.metadata().map_err(|_| Errno::EIO)?.len();
    to.set_len(size).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let mut at: i64 = 0;
    loop {
        // A descriptor of our own: nobody else moves its offset.
        let start = match lseek(from, at, Whence::SeekData) {
            Err(Errno::ENXIO) => return Ok(()),
            start => start?,
        };
        let end = lseek(from, start, Whence::SeekHole)?;
        let (mut source, mut target) = (start, start);
        while source < end {
            let left = usize::try_from(end - source).unwrap_or(usize::MAX);
            if copy_file_range(from, Some(&mut source), to, Some(&mut target), left)? == 0 {
                return Err(Errno::EIO);
            }
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn holes_stay_holes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).expect("made");
        file.set_len(64 << 20).expect("sized");
        file.write_all_at(b"start", 0).expect("written");
        file.write_all_at(b"end", (64 << 20) - 3).expect("written");
        let copy = OpenOptions::new().read(true).write(true).create_new(true).open(&to).expect("made");
        copy_sparse(&File::open(&from).expect("there"), &copy).expect("copied");
        let about = copy.metadata().expect("there");
        assert!(about.len() == 64 << 20 && about.blocks() * 512 < 1 << 20, "{about:?}");
        let mut end = [0; 3];
        copy.read_exact_at(&mut end, (64 << 20) - 3).expect("read");
        assert_eq!(&end, b"end");
    }

    #[test]
    fn a_template_is_made_once_and_old_ones_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let maker = DiskMaker::new(dir.path());
        if let Some(problem) = maker.problem() {
            assert!(!problem.is_empty());
            return;
        }
        for megabytes in 8..8 + MOST_TEMPLATES as u64 + 3 {
            let size = DiskSize { bytes: megabytes << 20, inodes: Some(100) };
            maker.prepare(size).expect("made");
            maker.prepare(size).expect("there");
        }
        assert_eq!(fs::read_dir(dir.path().join("disks")).expect("a directory").count(), MOST_TEMPLATES);
    }

    #[test]
    fn a_file_system_is_larger_than_what_it_holds() {
        let size = DiskSize { bytes: 1 << 30, inodes: None };
        assert_eq!(size.inodes(), 65_536 + OWN_INODES);
        assert!(size.whole() > (1 << 30) + (32 << 20) && size.whole() < (1 << 30) + (34 << 20));
    }
}
