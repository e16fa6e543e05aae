//! From a file to a mount: a copy of the template, a loop device, a detached ext4 mount.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;

use super::template::{Templates, copy_sparse};
use super::{DiskError, DiskSize};
use crate::runtime::root::Writable;
use crate::sys::{self, FsContext, LoopDevice, MountAttr};

/// What makes file systems here, or what is missing for disks with one.
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
        match mount(&self.device(image, size)?) {
            Err(error) if tells_of_damage(error.errno) => {
                tracing::warn!(%error, "the template of disks of {} bytes is damaged; making another", size.bytes);
            }
            done => return Ok(done?),
        }
        self.templates.forget(size)?;
        fs::remove_file(image).map_err(DiskError::io("remove", image))?;
        Ok(mount(&self.device(image, size)?)?)
    }

    /// A copy of the template as a device.
    fn device(&self, image: &Path, size: DiskSize) -> Result<LoopDevice, DiskError> {
        let template = self.templates.open(size)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(image);
        let file = file.map_err(DiskError::io("make", image))?;
        // Without it, it works as well as the kernel lets it.
        if let Err(error) = sys::write_in_place(file.as_fd()) {
            tracing::warn!(%error, "a disk is not written in place");
        }
        copy_sparse(&template, &file).map_err(|errno| DiskError::io("fill", image)(errno.into()))?;
        Ok(sys::attach_loop(file.as_fd())?)
    }
}

fn mount(device: &LoopDevice) -> sys::Result<OwnedFd> {
    let context = FsContext::open(c"ext4")?;
    let source = CString::new(device.path.as_os_str().as_bytes()).unwrap_or_default();
    context.string(c"source", &source)?;
    // What is deleted inside is given back to the host.
    context.flag(c"discard")?;
    context.mount(MountAttr::NO_DEV)
}

/// What ext4 says of a device that does not hold one: `EUCLEAN` and `EBADMSG` are its own of damage.
fn tells_of_damage(errno: Errno) -> bool {
    matches!(errno, Errno::EINVAL | Errno::EIO | Errno::EUCLEAN | Errno::EBADMSG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::trial;

    #[test]
    fn a_damaged_template_is_made_anew() {
        let Ok(mke2fs) = find() else { return };
        if !trial::has_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let size = DiskSize { bytes: 8 << 20, inodes: Some(100) };
        let maker = Maker::new(Templates::new(dir.path().join("disks"), mke2fs, None));
        drop(maker.make(&dir.path().join("sound"), size).expect("made"));
        let template = fs::read_dir(dir.path().join("disks")).expect("a directory").flatten().next().expect("one");
        for damaged in [Vec::new(), vec![0xa5; 1 << 20]] {
            fs::write(template.path(), &damaged).expect("written");
            let image = dir.path().join("image");
            drop(maker.make(&image, size).expect("made"));
            assert!(fs::metadata(&image).expect("there").len() > 8 << 20);
            fs::remove_file(&image).expect("removed");
            assert_ne!(fs::read(template.path()).expect("there"), damaged);
        }
    }
}
