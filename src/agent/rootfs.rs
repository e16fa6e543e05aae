//! Building the sandbox's root out of detached mounts, and entering it.
//!
//! Every file system is mounted detached and attached to a directory that was opened inside the new root without
//! following a link, so no path of an image is ever resolved against the host. Hidden paths are opened below the fresh
//! proc and sysfs mounts themselves, never through the image.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, chdir, fchdir, fchownat, pivot_root, symlinkat};

use super::step::{Named, Step};
use crate::proto::SeedPlan;
use crate::sys::{self, FsContext, MountAttr, TreeSource};

const SAFE: MountAttr = MountAttr::NO_SUID.and(MountAttr::NO_DEV).and(MountAttr::NO_EXEC);

/// Where the launcher's own small root (`runtime::launch::room`) lets things be mounted: the root, and the three kernel file
/// systems until they are moved into it. `empty-file` and `empty-dir` beside them are what hidden paths show.
pub const STAGE: [&str; 4] = ["/root", "/stage-proc", "/stage-sys", "/stage-dev"];

/// The kernel file systems of a sandbox, mounted and masked, on the stage.
#[derive(Debug)]
pub struct Stage {
    room: OwnedFd,
    proc: OwnedFd,
    sysfs: OwnedFd,
    dev: OwnedFd,
}

/// Mounts what does not depend on the image.
pub fn set_stage(plan: &SeedPlan) -> Step<Stage> {
    let room = open_room().step("open the launcher's root")?;
    let proc = mount_on(&room, c"stage-proc", &FsContext::open(c"proc").step("mount /proc")?, SAFE);
    let proc = proc.step("mount /proc")?;
    let sysfs = FsContext::open(c"sysfs").step("mount /sys")?;
    let sysfs = mount_on(&room, c"stage-sys", &sysfs, SAFE.and(MountAttr::READ_ONLY)).step("mount /sys")?;
    let dev = mount_dev(&room, plan)?;
    for path in &plan.masked_paths {
        hide(&proc, &sysfs, &room, path).step(&format!("hide {path}"))?;
    }
    for path in &plan.read_only_paths {
        make_read_only(&proc, &sysfs, path).step(&format!("make {path} read-only"))?;
    }
    Ok(Stage { room, proc, sysfs, dev })
}

/// Attaches the root, moves the stage into it with everything that is mounted there, and makes it the root of all processes
/// of this mount namespace.
pub fn enter(root: &OwnedFd, stage: &Stage) -> Step<()> {
    sys::move_mount_at(root.as_fd(), stage.room.as_fd(), c"root").step("attach the root")?;
    for (mount, at) in [(&stage.proc, c"proc"), (&stage.sysfs, c"sys"), (&stage.dev, c"dev")] {
        let moved =
            open_below(root.as_fd(), at, OFlag::O_DIRECTORY).and_then(|to| sys::attach(mount.as_fd(), to.as_fd()));
        moved.step("move the kernel file systems into the root")?;
    }
    change_root(root).step("enter the root")
}

/// By path, after the fork: a descriptor that the launcher opened would still mean its own mount namespace.
fn open_room() -> sys::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    sys::told(nix::fcntl::open("/", flags, Mode::empty()), || "open(\"/\", O_PATH)".to_owned())
}

fn mount_on(dir: &OwnedFd, at: &CStr, context: &FsContext, attributes: MountAttr) -> sys::Result<OwnedFd> {
    let mount = context.mount(attributes)?;
    let target = open_below(dir.as_fd(), at, OFlag::O_DIRECTORY)?;
    sys::attach(mount.as_fd(), target.as_fd())?;
    Ok(mount)
}

/// Opens a path below `dir` without following any link or crossing into another mount.
fn open_below(dir: BorrowedFd<'_>, path: &CStr, kind: OFlag) -> sys::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | kind).resolve(resolve);
    sys::told(openat2(dir, path, how), || format!("openat2({dir:?}, {path:?}, O_PATH, BENEATH|NO_SYMLINKS)"))
}

/// A small file system of the sandbox's own with the six devices that every program expects.
///
/// The nodes are made right in it, before any process of the sandbox exists: making more takes `CAP_MKNOD` in the
/// host's user namespace, which nothing inside has.
fn mount_dev(room: &OwnedFd, plan: &SeedPlan) -> Step<OwnedFd> {
    let owner = plan.id_base.to_string();
    let context = FsContext::open(c"tmpfs").step("mount /dev")?;
    for (key, value) in [(c"mode", "755"), (c"size", "1m"), (c"nr_inodes", "4096"), (c"uid", &owner), (c"gid", &owner)]
    {
        context.string(key, &c_string(value)).step("mount /dev")?;
    }
    let attributes = MountAttr::NO_SUID.and(MountAttr::NO_EXEC);
    let dev = mount_on(room, c"stage-dev", &context, attributes).step("mount /dev")?;
    make_nodes(&dev, plan.id_base).step("make the nodes of /dev")?;
    mount_pts(&dev, plan.id_base).step("mount /dev/pts")?;
    mount_shm(&dev, plan).step("mount /dev/shm")?;
    let mqueue = FsContext::open(c"mqueue").step("mount /dev/mqueue")?;
    mount_on(&dev, c"mqueue", &mqueue, SAFE).step("mount /dev/mqueue")?;
    Ok(dev)
}

fn make_nodes(dev: &OwnedFd, owner: u32) -> sys::Result<()> {
    let own = |name: &CStr| {
        let (uid, gid) = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)));
        let done = fchownat(dev, name, uid, gid, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW);
        sys::told(done, || format!("fchownat(/dev, {name:?}, {owner})"))
    };
    let nodes = [(c"null", 3), (c"zero", 5), (c"full", 7), (c"random", 8), (c"urandom", 9)];
    for (name, major, minor) in nodes.map(|(name, minor)| (name, 1, minor)).into_iter().chain([(c"tty", 5, 0)]) {
        let mode = Mode::from_bits_truncate(0o666);
        let made = mknodat(dev, name, SFlag::S_IFCHR, mode, makedev(major, minor));
        sys::told(made, || format!("mknodat(/dev, {name:?}, S_IFCHR, {major}:{minor})"))?;
        own(name)?;
    }
    for name in [c"pts", c"shm", c"mqueue"] {
        let made = mkdirat(dev, name, Mode::from_bits_truncate(0o755));
        sys::told(made, || format!("mkdirat(/dev, {name:?})"))?;
    }
    let links = [
        (c"pts/ptmx", c"ptmx"),
        (c"/proc/self/fd", c"fd"),
        (c"/proc/self/fd/0", c"stdin"),
        (c"/proc/self/fd/1", c"stdout"),
        (c"/proc/self/fd/2", c"stderr"),
    ];
    for (target, name) in links {
        sys::told(symlinkat(target, dev, name), || format!("symlinkat({target:?}, /dev, {name:?})"))?;
        own(name)?;
    }
    Ok(())
}

/// Of the 3,072 that the kernel has for all sandboxes together (`/proc/sys/kernel/pty`).
const MAX_TERMINALS: &str = "256";

fn mount_pts(dev: &OwnedFd, base: u32) -> sys::Result<()> {
    let context = FsContext::open(c"devpts")?;
    // Group 5 is `tty` in every distribution; the kernel wants the host's number of the sandbox's group 5.
    let group = base.saturating_add(5).to_string();
    for (key, value) in [(c"ptmxmode", "0666"), (c"mode", "0620"), (c"gid", &group), (c"max", MAX_TERMINALS)] {
        context.string(key, &c_string(value))?;
    }
    mount_on(dev, c"pts", &context, MountAttr::NO_SUID.and(MountAttr::NO_EXEC))?;
    Ok(())
}

fn mount_shm(dev: &OwnedFd, plan: &SeedPlan) -> sys::Result<()> {
    let context = FsContext::open(c"tmpfs")?;
    let (owner, size) = (plan.id_base.to_string(), plan.shm_bytes.to_string());
    // One inode for each 4 KiB, as many as files of one page could fill.
    let inodes = (plan.shm_bytes / 4096).max(16).to_string();
    for (key, value) in
        [(c"mode", "1777"), (c"size", &size), (c"nr_inodes", &inodes), (c"uid", &owner), (c"gid", &owner)]
    {
        context.string(key, &c_string(value))?;
    }
    mount_on(dev, c"shm", &context, SAFE)?;
    Ok(())
}

/// Lays an empty file or directory of the launcher's over a path of proc or sysfs; nothing to do if it is not there.
fn hide(proc: &OwnedFd, sysfs: &OwnedFd, room: &OwnedFd, path: &str) -> sys::Result<()> {
    let Some(target) = kernel_path(proc, sysfs, path)? else { return Ok(()) };
    let stat = sys::told(nix::sys::stat::fstat(&target), || format!("fstat({path})"))?;
    let is_dir = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR;
    let source = if is_dir { c"empty-dir" } else { c"empty-file" };
    let mask = sys::clone_tree(TreeSource::At(room.as_fd(), source))?;
    sys::set_mount_attributes(mask.as_fd(), SAFE.and(MountAttr::READ_ONLY))?;
    sys::attach(mask.as_fd(), target.as_fd())
}

fn make_read_only(proc: &OwnedFd, sysfs: &OwnedFd, path: &str) -> sys::Result<()> {
    let Some(target) = kernel_path(proc, sysfs, path)? else { return Ok(()) };
    let copy = sys::clone_tree(TreeSource::Fd(target.as_fd()))?;
    sys::set_mount_attributes(copy.as_fd(), SAFE.and(MountAttr::READ_ONLY))?;
    sys::attach(copy.as_fd(), target.as_fd())
}

/// Opens `/proc/...` or `/sys/...` below the mount itself; `None` when this kernel does not have the path.
fn kernel_path(proc: &OwnedFd, sysfs: &OwnedFd, path: &str) -> sys::Result<Option<OwnedFd>> {
    let (mount, rest) = match (path.strip_prefix("/proc/"), path.strip_prefix("/sys/")) {
        (Some(rest), _) => (proc, rest),
        (None, Some(rest)) => (sysfs, rest),
        (None, None) => {
            let call = format!("open({path:?}): neither below /proc nor below /sys");
            return Err(sys::SyscallError { call, errno: Errno::EINVAL });
        }
    };
    match open_below(mount.as_fd(), &c_string(rest), OFlag::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `pivot_root(2)` with both arguments ".": the old root lands on top of the new one, and is detached from there.
fn change_root(root: &OwnedFd) -> sys::Result<()> {
    sys::told(fchdir(root), || "fchdir(root)".to_owned())?;
    sys::told(pivot_root(".", "."), || "pivot_root(\".\", \".\")".to_owned())?;
    sys::told(umount2(".", MntFlags::MNT_DETACH), || "umount2(\".\", MNT_DETACH)".to_owned())?;
    sys::told(chdir("/"), || "chdir(\"/\")".to_owned())
}

/// Mount options are made of digits and names of ours; one with a NUL is cut to nothing, which the kernel refuses.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
