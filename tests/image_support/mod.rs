//! What the tests of images share: a store with a canary beside it, tar archives byte by byte, OCI layouts.
#![expect(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod corpus;
pub mod layout;
pub mod tar;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bivouac::image::{Image, ImageError, ImageStore, NoProgress, Source, UnpackLimits};
use tempfile::TempDir;

/// A store in a directory of its own, with files beside it that no image may touch.
pub struct Fixture {
    pub dir: TempDir,
    pub store: ImageStore,
    canary: BTreeMap<PathBuf, String>,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(UnpackLimits::default())
    }

    pub fn with(limits: UnpackLimits) -> Self {
        Self::below(Path::new(env!("CARGO_TARGET_TMPDIR")), limits)
    }

    /// Where nothing waits for a disk.
    pub fn in_memory() -> Self {
        Self::below(Path::new("/dev/shm"), UnpackLimits::default())
    }

    fn below(parent: &Path, limits: UnpackLimits) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the tests of images unpack files of other owners: run them as root");
        let dir = TempDir::new_in(parent).unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir_all(canary.join("dir")).unwrap();
        fs::write(canary.join("file"), "sings").unwrap();
        fs::write(canary.join("dir/file"), "sings too").unwrap();
        let store = ImageStore::open(&dir.path().join("images"), limits).unwrap();
        Self { store, canary: snapshot(&canary), dir }
    }

    pub fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn import(&self, bytes: &[u8]) -> Result<Arc<Image>, ImageError> {
        self.store.import(Source::Reader(Box::new(Cursor::new(bytes))), Some("test"), &NoProgress)
    }

    pub fn import_path(&self, path: &Path) -> Result<Arc<Image>, ImageError> {
        self.store.import(Source::Path(path), Some("test"), &NoProgress)
    }

    /// Imports a root that must be taken, and returns the directory of its layer.
    pub fn unpack(&self, tar: &[u8]) -> PathBuf {
        let image = self.import(tar).unwrap_or_else(|error| panic!("{}", chain(&error)));
        self.store.layers_dir().join(&image.layers[0].dir)
    }

    /// Imports a root that must be refused; returns why.
    pub fn refuse(&self, tar: &[u8]) -> String {
        match self.import(tar) {
            Ok(image) => panic!("it was taken: {image:?}"),
            Err(error) => {
                assert!(error.is_callers_fault(), "{}", chain(&error));
                self.assert_empty();
                error.to_string()
            }
        }
    }

    /// Nothing of a refused image is below the store, and nothing beside it has changed.
    pub fn assert_empty(&self) {
        self.assert_canary();
        self.store.settle(Duration::from_secs(60));
        // It is made with the first that lies there.
        fs::create_dir_all(self.path("images").join(unsettled())).unwrap();
        for dir in [PathBuf::from("layers"), "records".into(), "tmp".into(), "quarantine".into(), unsettled()] {
            let left: Vec<_> = fs::read_dir(self.path("images").join(&dir)).unwrap().collect();
            assert!(left.is_empty(), "{}: {left:?}", dir.display());
        }
    }

    pub fn assert_canary(&self) {
        assert_eq!(snapshot(&self.canary()), self.canary, "the canary was touched");
    }
}

/// Where, below a store, the records are of which not everything is on the disk.
pub fn unsettled() -> PathBuf {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    Path::new("unsettled").join(boot.trim())
}

/// Every path below `root` with all that can be said about it.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut queue = vec![root.to_owned()];
    while let Some(path) = queue.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_dir() {
            queue.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if metadata.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else if metadata.is_file() {
            format!("{:?}", fs::read(&path).unwrap())
        } else {
            format!("{:x}", metadata.rdev())
        };
        let time = (metadata.mtime(), metadata.mtime_nsec());
        let what = format!("{:o} {}:{} {time:?} {content}", metadata.mode(), metadata.uid(), metadata.gid());
        found.insert(path.strip_prefix(root).unwrap().to_owned(), what);
    }
    found
}

/// The names below `root`, sorted.
pub fn names(root: &Path) -> Vec<String> {
    snapshot(root).into_keys().map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty()).collect()
}

pub fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == 0)
}

/// The extended attributes of a file as `getfattr` prints them.
pub fn xattrs(path: &Path) -> String {
    run("getfattr", &["-h", "-d", "-m", "-", "--absolute-names", path.to_str().unwrap()])
}

pub fn is_opaque(path: &Path) -> bool {
    xattrs(path).contains("trusted.overlay.opaque=\"y\"")
}

/// Runs a program that must succeed; returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An error with its sources.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
