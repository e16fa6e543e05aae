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

/// Whether the open file or directory has an extended attribute with this value (`fgetxattr(2)`); what cannot be read is not
/// there.
#[must_use]
pub fn has_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> bool {
    let mut found = vec![0_u8; value.len() + 1];
    // SAFETY: `name` is a valid C string and `found` a buffer of the given length, of which the call fills no more.
    let length = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), found.as_mut_ptr().cast(), found.len()) };
    usize::try_from(length).is_ok_and(|length| found.get(..length) == Some(value))
}
