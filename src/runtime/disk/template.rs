//! Empty file systems to copy from. Making one takes a program and some 20 ms, copying it a few hundred KiB.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::copy_file_range;
use nix::unistd::{Whence, lseek};

use super::{DiskError, DiskSize};

/// Sizes that are kept; who asks for more different ones waits for a new one each time.
const MOST_TEMPLATES: usize = 16;

/// What the arguments of mke2fs and the sizes are: one more when they change, or an older daemon's would be taken.
const FORMAT: u32 = 1;

/// A file system of each size that was asked for.
#[derive(Debug)]
pub struct Templates {
    dir: PathBuf,
    mke2fs: PathBuf,
    /// The size of which the template always stays.
    default: Option<DiskSize>,
    /// One is made at a time.
    making: Mutex<()>,
}

impl Templates {
    pub fn new(dir: PathBuf, mke2fs: PathBuf, default: Option<DiskSize>) -> Self {
        Self { dir, mke2fs, default, making: Mutex::new(()) }
    }

    /// The one of this size, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(&self, size: DiskSize) -> Result<File, DiskError> {
        let path = self.path(size);
        if let Ok(file) = File::open(&path) {
            return Ok(file);
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            self.make(&path, size)?;
        }
        File::open(&path).map_err(DiskError::io("open", &path))
    }

    /// Removes the one of this size: the next who asks makes another.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, size: DiskSize) -> Result<(), DiskError> {
        let path = self.path(size);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DiskError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    fn path(&self, size: DiskSize) -> PathBuf {
        self.dir.join(format!("{FORMAT}-{}-{}.ext4", size.bytes, size.inodes()))
    }

    fn make(&self, path: &Path, size: DiskSize) -> Result<(), DiskError> {
        DirBuilder::new().mode(0o700).recursive(true).create(&self.dir).map_err(DiskError::io("make", &self.dir))?;
        self.make_room();
        // What was begun and not finished never has the name.
        let part = path.with_extension("part");
        let made = File::create(&part).and_then(|file| file.set_len(size.whole()));
        made.map_err(DiskError::io("make", &part))?;
        let output = Command::new(&self.mke2fs)
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-I", "256"])
            .args(["-O", "^has_journal,^resize_inode,^metadata_csum,uninit_bg,sparse_super2"])
            .args(["-E", "packed_meta_blocks=1,num_backup_sb=0,root_owner=0:0"])
            .args(["-N", &size.inodes().to_string()])
            .arg(&part)
            .stdin(Stdio::null())
            .env_clear()
            .output()
            .map_err(DiskError::io("run", &self.mke2fs))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            drop(fs::remove_file(&part));
            return Err(DiskError::Make { bytes: size.bytes, told });
        }
        // After a crash the name may be there, and what was not written yet may not.
        File::open(&part).and_then(|file| file.sync_all()).map_err(DiskError::io("write", &part))?;
        fs::rename(&part, path).map_err(DiskError::io("name", path))
    }

    /// The one that was made first goes.
    fn make_room(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| Some((entry.metadata().ok()?, entry.path())));
        let default = self.default.map(|size| self.path(size));
        let files = files.filter(|(about, path)| about.is_file() && default.as_ref() != Some(path));
        let mut all: Vec<_> = files.filter_map(|(about, path)| Some((about.modified().ok()?, path))).collect();
        all.sort();
        let many = (all.len() + 1).saturating_sub(MOST_TEMPLATES);
        all.into_iter().take(many).for_each(|(_, path)| drop(fs::remove_file(path)));
    }
}

/// Copies what is written in `from`; the holes stay holes.
pub fn copy_sparse(from: &File, to: &File) -> nix::Result<()> {
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
    use std::fs::OpenOptions;
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
        let Ok(mke2fs) = super::super::maker::find() else { return };
        let dir = tempfile::tempdir().expect("a directory");
        let own = dir.path().join("disks");
        let size = |megabytes: u64| DiskSize { bytes: megabytes << 20, inodes: Some(100) };
        let templates = Templates::new(own.clone(), mke2fs, Some(size(8)));
        for megabytes in 8..8 + MOST_TEMPLATES as u64 + 3 {
            templates.open(size(megabytes)).expect("made");
            templates.open(size(megabytes)).expect("there");
        }
        assert_eq!(fs::read_dir(own).expect("a directory").count(), 1 + MOST_TEMPLATES);
        assert!(templates.path(size(8)).exists() && !templates.path(size(9)).exists(), "the default stays");
    }
}
