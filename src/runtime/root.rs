//! A sandbox's root: the image's layers, shifted into its id range, under a writable directory of its own.
//!
//! Two ways lead to the same mount. From Linux 6.15 overlayfs takes detached mounts as descriptors. Before, the shifted
//! layers are attached in a mount namespace of one thread's own, named by path, and detached again.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::chdir;

use super::slots::Slot;
use crate::sys::{self, FsContext, MountAttr, SyscallError, TreeSource};

/// Nothing of an image or of a sandbox may steer the overlay: no redirects, no copy-ups of metadata alone.
const SETTINGS: [(&str, &str); 4] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off")];

/// The writable side: `upper` and `work` below the sandbox's directory.
#[derive(Debug, Clone)]
pub struct Writable {
    dir: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    /// The detached mount that the two are in, when it is one of their own.
    mount: Option<Arc<OwnedFd>>,
}

impl Writable {
    #[must_use]
    pub fn below(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), upper: dir.join("upper"), work: dir.join("work"), mount: None }
    }

    /// In the root of a detached mount.
    #[must_use]
    pub fn in_mount(mount: Arc<OwnedFd>) -> Self {
        // The mount is nowhere; this leads to it as long as it is open.
        let dir = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Self { mount: Some(mount), ..Self::below(&dir) }
    }

    /// A detached mount of the sandbox's directory: seen through it, the two are `/upper` and `/work`, and the mount table
    /// inside the sandbox tells nothing of where they are on the host.
    fn detached(&self) -> sys::Result<OwnedFd> {
        if let Some(mount) = &self.mount {
            return sys::told(mount.try_clone(), || "dup(mount)".to_owned());
        }
        let opened = sys::told(File::open(&self.dir), || format!("open({})", self.dir.display()))?;
        sys::clone_tree(TreeSource::Fd(opened.as_fd()))
    }

    /// The mount that the two are in, when it is one of their own.
    #[must_use]
    pub fn mount(&self) -> Option<Arc<OwnedFd>> {
        self.mount.clone()
    }

    /// Makes both. They are root's still.
    pub fn make(&self) -> std::io::Result<()> {
        for dir in [&self.upper, &self.work] {
            fs::create_dir(dir)?;
        }
        // The root directory of the sandbox takes its mode from here.
        fs::set_permissions(&self.upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
    }

    /// Gives both to the sandbox's root: host id 0 never owns a byte that a sandbox wrote.
    pub fn give(&self, base: u32) -> std::io::Result<()> {
        [&self.upper, &self.work].into_iter().try_for_each(|dir| chown(dir, Some(base), Some(base)))
    }
}

/// How to mount; found out once, at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Descriptors,
    Paths,
}

impl Way {
    /// Tries the first way with two empty directories below `scratch`, which is removed again.
    #[must_use]
    pub fn find(slot: &Slot, scratch: &Path) -> Self {
        let writable = Writable::below(scratch);
        // A daemon that was killed while it tried has left its own behind.
        drop(fs::remove_dir_all(scratch));
        let made = fs::create_dir_all(scratch).and_then(|()| writable.make()).and_then(|()| writable.give(slot.base));
        let tried = made.is_ok();
        let found = if tried && by_descriptors(slot, &[], &writable, Told::Layer).is_ok() {
            Self::Descriptors
        } else {
            Self::Paths
        };
        drop(fs::remove_dir_all(scratch));
        found
    }
}

/// Where the root takes what it tells about the sandbox from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The layer of [`About`](super::about::About) is part of it.
    Layer,
    /// It cannot be: the image has something else at `/etc` than a directory.
    Nothing,
}

/// A sandbox's root, mounted.
#[derive(Debug)]
pub struct Root {
    /// A detached overlay mount.
    pub mount: OwnedFd,
    pub told: Told,
    /// The detached mount that the writable side was taken from.
    pub spent: Option<OwnedFd>,
}

/// The root of `layers` (names below the slot's layer mount, lowest first). `anchor` is a directory that the second way may
/// mount on, in a namespace of its own.
pub fn mount_root(way: Way, anchor: &Path, slot: &Slot, layers: &[String], writable: &Writable) -> sys::Result<Root> {
    let told = if slot.about.fit(slot.layers.as_fd(), layers)? { Told::Layer } else { Told::Nothing };
    let (mount, spent) = match way {
        Way::Descriptors => by_descriptors(slot, layers, writable, told).map(|(mount, own)| (mount, Some(own)))?,
        Way::Paths => (by_paths(anchor, slot, layers, writable, told)?, None),
    };
    // A kernel that cannot write to the upper directory mounts read-only without a word.
    let found = sys::told(fstatvfs(&mount), || "fstatvfs(root)".to_owned())?;
    if found.flags().contains(FsFlags::ST_RDONLY) {
        return Err(SyscallError {
            call: "fsmount(overlay): the kernel made it read-only".into(),
            errno: Errno::EROFS,
        });
    }
    Ok(Root { mount, told, spent })
}

/// With the mount that the writable side was taken from.
fn by_descriptors(slot: &Slot, layers: &[String], writable: &Writable, told: Told) -> sys::Result<(OwnedFd, OwnedFd)> {
    let context = FsContext::open(c"overlay")?;
    let skeleton = open_path(slot.skeleton.as_fd(), ".")?;
    context.descriptor(c"lowerdir+", skeleton.as_fd())?;
    if told == Told::Layer {
        context.descriptor(c"lowerdir+", open_path(slot.about.mount(), ".")?.as_fd())?;
    }
    for layer in layers.iter().rev() {
        context.descriptor(c"lowerdir+", open_path(slot.layers.as_fd(), layer)?.as_fd())?;
    }
    let own = writable.detached()?;
    for (key, name) in [(c"upperdir", "upper"), (c"workdir", "work")] {
        context.descriptor(key, open_path(own.as_fd(), name)?.as_fd())?;
    }
    for (key, value) in SETTINGS {
        context.string(&c_string(key), &c_string(value))?;
    }
    // What a sandbox wrote dies with the host's memory anyway: no sync of the whole file system when it ends.
    context.flag(c"volatile")?;
    Ok((context.mount(MountAttr::NO_DEV)?, own))
}

fn open_path(dir: BorrowedFd<'_>, path: &str) -> sys::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    sys::told(openat(dir, path, flags, Mode::empty()), || format!("openat([{}], {path:?}, O_PATH)", dir.as_raw_fd()))
}

/// Runs on a thread of its own, because here a mount namespace belongs to a thread and goes away with it.
fn by_paths(anchor: &Path, slot: &Slot, layers: &[String], writable: &Writable, told: Told) -> sys::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| mount_in_own_namespace(anchor, slot, layers, writable, told));
        let panicked = |_| Err(SyscallError { call: "mount(overlay): the thread panicked".into(), errno: Errno::EIO });
        worker.join().unwrap_or_else(panicked)
    })
}

fn mount_in_own_namespace(
    anchor: &Path,
    slot: &Slot,
    layers: &[String],
    writable: &Writable,
    told: Told,
) -> sys::Result<OwnedFd> {
    let none = None::<&str>;
    let namespaces = CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS;
    sys::told(unshare(namespaces), || "unshare(CLONE_FS | CLONE_NEWNS)".to_owned())?;
    let private = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
    sys::told(private, || "mount(MS_REC | MS_PRIVATE)".to_owned())?;
    let scratch = FsContext::open(c"tmpfs")?.mount(MountAttr::NONE)?;
    sys::attach(scratch.as_fd(), open_path(open_root()?.as_fd(), &anchor.to_string_lossy())?.as_fd())?;
    let own = writable.detached()?;
    let trees = [
        ("layers", Some(slot.layers.as_fd())),
        ("skeleton", Some(slot.skeleton.as_fd())),
        ("about", Some(slot.about.mount())),
        ("own", Some(own.as_fd())),
        ("root", None),
    ];
    for (name, tree) in trees {
        let path = anchor.join(name);
        sys::told(fs::create_dir(&path), || format!("mkdir({})", path.display()))?;
        if let Some(tree) = tree {
            sys::attach(tree, open_path(scratch.as_fd(), name)?.as_fd())?;
        }
    }
    // Relative names keep a hundred layers within the page that mount(2) takes, and what the host's own are called (a comma
    // would end an option) out of it.
    sys::told(chdir(&anchor.join("layers")), || "chdir(layers)".to_owned())?;
    let (options, root) = (path_options(layers, told)?, anchor.join("root"));
    let mounted = mount(Some("overlay"), &root, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()));
    sys::told(mounted, || format!("mount(overlay, {options:?})"))?;
    sys::clone_tree(TreeSource::Fd(open_path(scratch.as_fd(), "root")?.as_fd()))
}

fn path_options(layers: &[String], told: Told) -> sys::Result<String> {
    let about = (told == Told::Layer).then_some("../about");
    let lower: Vec<&str> =
        ["../skeleton"].into_iter().chain(about).chain(layers.iter().rev().map(String::as_str)).collect();
    let mut options = format!("lowerdir={},upperdir=../own/upper,workdir=../own/work,volatile", lower.join(":"));
    for (key, value) in SETTINGS {
        options.push_str(&format!(",{key}={value}"));
    }
    if options.len() >= 4096 {
        let call = format!("mount(overlay): {} layers need options of {} bytes", layers.len(), options.len());
        return Err(SyscallError { call, errno: Errno::E2BIG });
    }
    Ok(options)
}

fn open_root() -> sys::Result<File> {
    sys::told(File::open("/"), || "open(\"/\")".to_owned())
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
