//! A directory of the host and what is below it. Every path in it is resolved from its descriptor, leads nowhere else, and
//! follows no link: neither one that was there, nor one that a sandbox has just sent.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use tokio::io::AsyncWriteExt;

const CONFINED: ResolveFlag =
    ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_NO_SYMLINKS).union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

#[derive(Debug)]
pub struct Tree {
    root: File,
    path: PathBuf,
}

impl Tree {
    /// The directory that the user has named; links on the way to it are followed.
    ///
    /// # Errors
    /// When it is no directory, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = (OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits();
        let root = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// For what is said about it.
    pub fn shown(&self, below: &Path) -> PathBuf {
        self.path.join(below)
    }

    /// Opens what is at a path; the empty one is the directory itself.
    ///
    /// # Errors
    /// When nothing is there, or a link is on the way or at the end.
    pub fn at(&self, below: &Path, flags: OFlag) -> io::Result<File> {
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(CONFINED);
        Ok(openat2(&self.root, below, how).map(File::from)?)
    }

    /// What is known of a path; a link itself.
    ///
    /// # Errors
    /// As [`at`](Self::at).
    pub fn look(&self, below: &Path) -> io::Result<Metadata> {
        self.at(below, OFlag::O_PATH)?.metadata()
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// When it is no directory, or may not be read.
    pub fn names(&self, below: &Path) -> io::Result<Vec<OsString>> {
        let mut dir = Dir::from_fd(self.at(below, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?.into())?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes a directory that nobody else may enter yet; false when there is one.
    ///
    /// # Errors
    /// When something else, as a link, is there.
    pub fn make_directory(&self, below: &Path) -> io::Result<bool> {
        let (dir, name) = self.spot(below)?;
        match mkdirat(&dir, name, Mode::S_IRWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => self.at(below, OFlag::O_PATH | OFlag::O_DIRECTORY).map(|_| false),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the permission bits of a directory.
    ///
    /// # Errors
    /// When it is not there any more, or belongs to somebody else.
    pub fn permit(&self, below: &Path, mode: u32) -> io::Result<()> {
        let dir = self.at(below, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        Ok(fchmod(&dir, Mode::from_bits_truncate(mode))?)
    }

    /// Makes a symbolic link in place of whatever file or link is there.
    ///
    /// # Errors
    /// When it cannot be made, or a directory or a device is there.
    pub fn link(&self, below: &Path, target: &str) -> io::Result<()> {
        let (dir, name) = self.spot(below)?;
        may_be_replaced(&dir, name)?;
        let aside = Aside::new(dir, name);
        symlinkat(target, &aside.dir, aside.own.as_str())?;
        aside.keep()
    }

    /// Begins a file beside the one that it will replace.
    ///
    /// # Errors
    /// When it cannot be made, or a directory or a device is there.
    pub fn begin(&self, below: &Path) -> io::Result<Pending> {
        let (dir, name) = self.spot(below)?;
        may_be_replaced(&dir, name)?;
        let aside = Aside::new(dir, name);
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR).resolve(CONFINED);
        let file = openat2(&aside.dir, aside.own.as_str(), how).map(File::from)?;
        Ok(Pending { file: file.into(), aside })
    }

    /// The directory of a path, and its name there.
    fn spot<'a>(&self, below: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = below.file_name().ok_or(Errno::EINVAL)?;
        let dir = self.at(below.parent().unwrap_or(Path::new("")), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        Ok((dir.into(), name))
    }
}

/// A directory has content, and a device, a pipe or a socket is not meant to become a file.
fn may_be_replaced(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let about = match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        about => about?,
    };
    match SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG | SFlag::S_IFLNK => Ok(()),
        SFlag::S_IFDIR => Err(Errno::EISDIR.into()),
        _ => Err(io::Error::new(io::ErrorKind::AlreadyExists, "a device, pipe or socket is there")),
    }
}

/// A name beside the one that it will take. Dropped, it leaves nothing behind.
#[derive(Debug)]
struct Aside {
    dir: OwnedFd,
    own: String,
    name: OsString,
}

impl Aside {
    fn new(dir: OwnedFd, name: &OsStr) -> Self {
        Self { dir, own: format!(".bivouac-{}", uuid::Uuid::new_v4().simple()), name: name.to_owned() }
    }

    fn keep(self) -> io::Result<()> {
        Ok(renameat(self.dir.as_fd(), self.own.as_str(), self.dir.as_fd(), self.name.as_os_str())?)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // When it has taken its place, nothing has this name.
        let _ = unlinkat(&self.dir, self.own.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Pending {
    file: tokio::fs::File,
    aside: Aside,
}

impl Pending {
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    /// It is complete and takes its place, with these permission bits.
    pub async fn keep(mut self, mode: u32) -> io::Result<()> {
        self.file.flush().await?;
        fchmod(&self.file, Mode::from_bits_truncate(mode))?;
        self.aside.keep()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A directory `tree` beside a file and a directory that are none of its business.
    fn place() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("tree/sub")).expect("made");
        fs::create_dir(dir.path().join("other")).expect("made");
        fs::write(dir.path().join("canary"), "alive").expect("written");
        let tree = Tree::open(&dir.path().join("tree")).expect("opened");
        (dir, tree)
    }

    async fn write(tree: &Tree, below: &str) -> io::Result<()> {
        let mut pending = tree.begin(Path::new(below))?;
        pending.write(b"new").await?;
        pending.keep(0o640).await
    }

    fn names(dir: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(dir).expect("read").map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_file_takes_its_place_when_it_is_complete() {
        let (dir, tree) = place();
        let path = dir.path().join("tree/sub/file");
        write(&tree, "sub/file").await.expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, 0o640);
        let mut pending = tree.begin(Path::new("sub/file")).expect("begun");
        pending.write(b"half").await.expect("written");
        drop(pending);
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(names(&dir.path().join("tree/sub")), ["file"], "nothing is left beside it");
    }

    #[tokio::test]
    async fn no_name_and_no_link_leads_out() {
        let (dir, tree) = place();
        let root = dir.path().display();
        symlink(dir.path().join("other"), dir.path().join("tree/away")).expect("a link");
        symlink("../../other", dir.path().join("tree/sub/up")).expect("a link");
        symlink(dir.path().join("canary"), dir.path().join("tree/file")).expect("a link");
        for way in ["../other/x", "away/x", "sub/up/x", "sub/../../other/x", &format!("{root}/other/x"), ".."] {
            assert!(write(&tree, way).await.is_err(), "{way}");
            assert!(tree.link(Path::new(way), "y").is_err(), "{way}");
            assert!(tree.make_directory(Path::new(way)).is_err(), "{way}");
            assert!(tree.permit(Path::new(way), 0o777).is_err(), "{way}");
        }
        assert!(tree.make_directory(Path::new("away")).is_err(), "a link is no directory");
        assert!(names(&dir.path().join("other")).is_empty());
        write(&tree, "file").await.expect("the link itself is replaced");
        assert_eq!(fs::read_to_string(dir.path().join("canary")).expect("read"), "alive");
        assert!(fs::symlink_metadata(dir.path().join("tree/file")).expect("there").is_file());
    }

    #[tokio::test]
    async fn directories_and_pipes_are_not_replaced() {
        let (dir, tree) = place();
        nix::unistd::mkfifo(&dir.path().join("tree/pipe"), Mode::S_IRWXU).expect("a pipe");
        for name in ["sub", "pipe"] {
            assert!(write(&tree, name).await.is_err(), "{name}");
            assert!(tree.link(Path::new(name), "x").is_err(), "{name}");
        }
        assert_eq!(names(&dir.path().join("tree")), ["pipe", "sub"]);
        assert!(tree.make_directory(Path::new("new")).expect("made"));
        assert!(!tree.make_directory(Path::new("new")).expect("there"));
    }
}
