//! From a file to a mount: a copy of the template, a loop device, a detached ext4 mount.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::template::{Templates, copy_sparse};
use super::{DiskError, DiskSize};
use crate::runtime::root::Writable;
use crate::sys::{self, FsContext, MountAttr};

/// What bounds a disk here, or what is missing for that.
///
/// # Errors
/// What is missing, and what to do.
pub fn find() -> Result<PathBuf, &'static str> {
    if !Path::new("/dev/loop-control").exists() {
        return Err("there is no /dev/loop-control (modprobe loop)");
    }
    let places = ["/usr/sbin/mke2fs", "/sbin/mke2fs", "/usr/local/sbin/mke2fs", "/usr/bin/mke2fs"];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or("there is no mke2fs (package e2fsprogs)")
}

/// Makes bounded disks.
#[derive(Debug)]
pub struct Maker {
    templates: Templates,
}

impl Maker {
    pub fn new(templates: Templates) -> Self {
        Self { templates }
    }

    /// Makes `image`, which must not be there, and the writable layer in it, which is root's still. Its mount keeps the
    /// device, and the device the file; the file may be removed or get another name at any time.
    ///
    /// # Errors
    /// When a step failed; `image` may be there then.
    pub fn make(&self, image: &Path, size: DiskSize) -> Result<Writable, DiskError> {
        let writable = Writable::in_mount(Arc::new(self.mount(image, size)?));
        writable.make().map_err(DiskError::io("make directories in", image))?;
        Ok(writable)
    }

    fn mount(&self, image: &Path, size: DiskSize) -> Result<OwnedFd, DiskError> {
        let template = self.templates.open(size)?;
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
}
