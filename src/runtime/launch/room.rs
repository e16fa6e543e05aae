//! The launcher's own root: a tiny file system that holds what sandboxes are built with, and nothing of the host.
//!
//! A new mount namespace copies its parent's mount table, so a launcher that saw the host's would pay for each of the
//! host's mounts with each sandbox, and every sandbox would start out with all of them in reach.

use std::fs;
use std::os::fd::AsFd;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, fchdir, pivot_root};

use crate::agent::{Named, Step};
use crate::sys::{self, FsContext, MountAttr};

const QUIET: MountAttr = MountAttr::NO_SUID.and(MountAttr::NO_DEV).and(MountAttr::NO_EXEC);

/// Enters a mount namespace whose root has the places that sandboxes are built on, `empty-file`, `empty-dir` and `proc`.
///
/// The new root is attached on the current directory for the moment of the switch, in a namespace that nobody else sees.
pub fn enter() -> Step<()> {
    unshare(CloneFlags::CLONE_NEWNS).step("unshare(CLONE_NEWNS)")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).step("make all mounts private")?;
    switch_root().step("enter the launcher's own root")?;
    for dir in crate::agent::STAGE {
        fs::create_dir(dir).step("make the places to mount on")?;
    }
    fs::create_dir("/empty-dir").step("make /empty-dir")?;
    fs::create_dir("/proc").step("make /proc")?;
    fs::write("/empty-file", b"").step("make /empty-file")?;
    mount_proc().step("mount the launcher's /proc")
}

fn switch_root() -> sys::Result<()> {
    let context = FsContext::open(c"tmpfs")?;
    context.string(c"size", c"64k")?.string(c"mode", c"755")?;
    let own = context.mount(QUIET)?;
    let target = sys::told(fs::File::open("."), || "open(\".\")".to_owned())?;
    sys::attach(own.as_fd(), target.as_fd())?;
    sys::told(fchdir(&own), || "fchdir(own root)".to_owned())?;
    sys::told(pivot_root(".", "."), || "pivot_root(\".\", \".\")".to_owned())?;
    sys::told(umount2(".", MntFlags::MNT_DETACH), || "umount2(\".\", MNT_DETACH)".to_owned())?;
    sys::told(chdir("/"), || "chdir(\"/\")".to_owned())
}

fn mount_proc() -> sys::Result<()> {
    let proc = FsContext::open(c"proc")?.mount(QUIET)?;
    let target = sys::told(fs::File::open("/proc"), || "open(\"/proc\")".to_owned())?;
    sys::attach(proc.as_fd(), target.as_fd())
}
