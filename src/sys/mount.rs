//! The mount API of Linux 5.2 and later: `fsopen`, `open_tree`, `move_mount`, `mount_setattr`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::error::{Result, SyscallError, checked};

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_SET_FD: libc::c_uint = 5;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// Attributes of a mount (`mount_setattr(2)`), as bits that can be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountAttr(u64);

impl MountAttr {
    pub const NONE: Self = Self(0);
    pub const READ_ONLY: Self = Self(0x1);
    pub const NO_SUID: Self = Self(0x2);
    pub const NO_DEV: Self = Self(0x4);
    pub const NO_EXEC: Self = Self(0x8);

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A file system being configured (`fsopen(2)`); a refusal carries what the kernel wrote to the context's log.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
    kind: CString,
}

impl FsContext {
    pub fn open(kind: &CStr) -> Result<Self> {
        // SAFETY: `kind` is a valid C string for the duration of the call.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
        let fd = owned(checked(result, || format!("fsopen({kind:?}, FSOPEN_CLOEXEC)"))?);
        Ok(Self { fd, kind: kind.to_owned() })
    }

    pub fn string(&self, key: &CStr, value: &CStr) -> Result<&Self> {
        // SAFETY: both are valid C strings for the duration of the call.
        let result = unsafe {
            libc::syscall(libc::SYS_fsconfig, self.raw(), FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0)
        };
        self.checked(result, || format!("SET_STRING, {key:?}, {value:?}"))
    }

    pub fn flag(&self, key: &CStr) -> Result<&Self> {
        let none = std::ptr::null::<libc::c_char>();
        // SAFETY: `key` is a valid C string; a flag has no value.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, self.raw(), FSCONFIG_SET_FLAG, key.as_ptr(), none, 0) };
        self.checked(result, || format!("SET_FLAG, {key:?}"))
    }

    /// Gives a descriptor as the value (overlayfs takes its layers so from Linux 6.13).
    pub fn descriptor(&self, key: &CStr, value: BorrowedFd<'_>) -> Result<&Self> {
        let none = std::ptr::null::<libc::c_char>();
        // SAFETY: `key` is a valid C string; the descriptor is passed as the auxiliary integer.
        let result = unsafe {
            libc::syscall(libc::SYS_fsconfig, self.raw(), FSCONFIG_SET_FD, key.as_ptr(), none, value.as_raw_fd())
        };
        self.checked(result, || format!("SET_FD, {key:?}, [{}]", value.as_raw_fd()))
    }

    /// Makes the superblock and a detached mount of it with these attributes.
    pub fn mount(&self, attributes: MountAttr) -> Result<OwnedFd> {
        let none = std::ptr::null::<libc::c_char>();
        // SAFETY: CMD_CREATE takes neither key nor value.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, self.raw(), FSCONFIG_CMD_CREATE, none, none, 0) };
        self.checked(result, || "CMD_CREATE".to_owned())?;
        // SAFETY: takes integers.
        let result = unsafe { libc::syscall(libc::SYS_fsmount, self.raw(), FSMOUNT_CLOEXEC, attributes.0) };
        let call = || format!("fsmount([{} {:?}], {:#x})", self.raw(), self.kind, attributes.0);
        Ok(owned(checked(result, call)?))
    }

    fn raw(&self) -> libc::c_int {
        self.fd.as_raw_fd()
    }

    fn checked(&self, result: libc::c_long, what: impl Fn() -> String) -> Result<&Self> {
        let call = || format!("fsconfig([{} {:?}], {})", self.raw(), self.kind, what());
        match checked(result, call) {
            Ok(_) => Ok(self),
            Err(error) => Err(SyscallError { call: format!("{}{}", error.call, self.log()), errno: error.errno }),
        }
    }

    /// What the kernel wrote about the refusal, as ` [message]`, or nothing.
    fn log(&self) -> String {
        let mut text = [0; 256];
        match nix::unistd::read(&self.fd, &mut text) {
            Ok(length) => format!(" [{}]", String::from_utf8_lossy(text.get(..length).unwrap_or_default()).trim_end()),
            Err(_) => String::new(),
        }
    }
}

/// What [`clone_tree`] takes a copy of.
#[derive(Debug, Clone, Copy)]
pub enum TreeSource<'a> {
    /// The directory or file that the descriptor stands for.
    Fd(BorrowedFd<'a>),
    /// A path relative to a directory.
    At(BorrowedFd<'a>, &'a CStr),
}

/// A detached copy of the mount at `source`, of this one mount only (`open_tree(OPEN_TREE_CLONE)`).
pub fn clone_tree(source: TreeSource<'_>) -> Result<OwnedFd> {
    let (dir, path) = match source {
        TreeSource::Fd(fd) => (fd, c""),
        TreeSource::At(dir, path) => (dir, path),
    };
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    let flags = flags | libc::AT_SYMLINK_NOFOLLOW as libc::c_uint;
    // SAFETY: `path` is a valid C string for the duration of the call.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) };
    Ok(owned(checked(result, || format!("open_tree([{}], {path:?}, {flags:#x})", dir.as_raw_fd()))?))
}

/// Sets attributes on a mount (`mount_setattr(2)`, Linux 5.12).
pub fn set_mount_attributes(mount: BorrowedFd<'_>, attributes: MountAttr) -> Result<()> {
    setattr(mount, attributes.0, 0)
}

/// Makes a detached mount translate ids through `user_namespace`: what is `n` on disk is the namespace's `n`.
pub fn idmap_mount(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>, attributes: MountAttr) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let number = u64::try_from(user_namespace.as_raw_fd()).unwrap_or_default();
    setattr(mount, attributes.0 | MOUNT_ATTR_IDMAP, number)
}

fn setattr(mount: BorrowedFd<'_>, set: u64, user_namespace: u64) -> Result<()> {
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attributes = Attributes { set, clear: 0, propagation: 0, user_namespace };
    // SAFETY: the struct has the layout of the kernel's mount_attr (VER0, 32 bytes), read during the call only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    checked(result, || format!("mount_setattr([{}], {set:#x}, userns={user_namespace})", mount.as_raw_fd()))?;
    Ok(())
}

/// Attaches a detached mount on the directory or file that `target` stands for.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    move_mount(mount, target, c"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
}

/// Attaches a detached mount at `path` below `dir`; a final symbolic link is not followed.
pub fn move_mount_at(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    move_mount(mount, dir, path, MOVE_MOUNT_F_EMPTY_PATH)
}

fn move_mount(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr, flags: libc::c_uint) -> Result<()> {
    let (from, to) = (mount.as_raw_fd(), dir.as_raw_fd());
    // SAFETY: both paths are valid C strings for the duration of the call.
    let result = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, path.as_ptr(), flags) };
    checked(result, || format!("move_mount([{from}], \"\", [{to}], {path:?}, {flags:#x})"))?;
    Ok(())
}

/// Owns the descriptor that a system call just returned.
fn owned(result: libc::c_long) -> OwnedFd {
    // SAFETY: only called with the successful result of a call that returns a new descriptor, which fits c_int.
    unsafe { OwnedFd::from_raw_fd(result as libc::c_int) }
}

impl AsFd for FsContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
