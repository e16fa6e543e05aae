//! Extended attributes, by descriptor only: no path is resolved and no link followed.

use std::ffi::{CStr, CString};
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

/// The names of the extended attributes of the open file or directory (`flistxattr(2)`), as far as the caller may see them; none
/// where the file system has no attributes.
///
/// # Errors
/// The kernel's errno; `ERANGE` when names are added faster than they are read.
pub fn list_xattrs(fd: BorrowedFd<'_>) -> nix::Result<Vec<CString>> {
    let names = grown(|buffer| {
        // SAFETY: `buffer` is a valid buffer of the given length (or none, of length 0), of which the call fills no more.
        unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }
    });
    let names = match names {
        Err(Errno::ENOTSUP) => return Ok(Vec::new()),
        names => names?,
    };
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    // Split at NULs, a name holds none.
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

/// The value of an extended attribute of the open file or directory (`fgetxattr(2)`).
///
/// # Errors
/// The kernel's errno: `ENODATA` where there is no such attribute.
pub fn get_xattr(fd: BorrowedFd<'_>, name: &CStr) -> nix::Result<Vec<u8>> {
    grown(|buffer| {
        // SAFETY: `name` is a valid C string and `buffer` a valid buffer of the given length (or none, of length 0), of which
        // the call fills no more.
        unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    })
}

/// Asks for the size, then for the content; again where it has grown in between.
fn grown(read: impl Fn(&mut [u8]) -> libc::ssize_t) -> nix::Result<Vec<u8>> {
    for _ in 0..8 {
        let size = Errno::result(read(&mut []))?;
        let mut buffer = vec![0; usize::try_from(size).unwrap_or_default()];
        match Errno::result(read(&mut buffer)) {
            Ok(length) => {
                buffer.truncate(usize::try_from(length).unwrap_or_default());
                return Ok(buffer);
            }
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ERANGE)
}
