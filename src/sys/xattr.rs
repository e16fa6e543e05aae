//! Extended attributes, by descriptor only: no path is resolved and no link followed.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Sets one extended attribute of the open file or directory (`fsetxattr(2)`), replacing a value that is there.
///
/// # Errors
/// The kernel's errno: `ENOTSUP` where the file system has none of that class, `ENOSPC` where they do not fit.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: `name` is a valid C string and `value` a valid buffer of the given length for the duration of the call,
    // which reads both and keeps neither.
    let result = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}
