//! Descriptors: owning, moving, closing.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::error::{Result, checked, told};

/// Takes ownership of a descriptor number that was handed to this program by its parent.
///
/// # Errors
/// When the number is not an open descriptor (`fcntl(F_GETFD)`).
pub fn adopt_fd(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: fcntl(F_GETFD) reads a flag of a descriptor; any number is allowed.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    checked(libc::c_long::from(flags), || format!("fcntl({number}, F_GETFD)"))?;
    // SAFETY: the descriptor is open; callers pass a number that they were given for good (by argument or message),
    // so nothing else in this program owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// An anonymous file in memory holding `bytes`, its offset at the start, close-on-exec (`memfd_create(2)`).
pub fn memfd(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    // SAFETY: `name` is a valid C string for the duration of the call.
    let number = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    checked(libc::c_long::from(number), || format!("memfd_create({name:?}, MFD_CLOEXEC)"))?;
    // SAFETY: memfd_create just returned this descriptor to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let mut written = 0;
    while written < bytes.len() {
        let count = nix::sys::uio::pwrite(&fd, &bytes[written..], i64::try_from(written).unwrap_or(i64::MAX));
        written += told(count, || format!("pwrite({:?})", fd.as_raw_fd()))?;
    }
    Ok(fd)
}

/// Makes `fd` appear under the number `target` (closing what was there), without close-on-exec (`dup2(2)`).
pub fn move_fd(fd: BorrowedFd<'_>, target: RawFd) -> Result<()> {
    if fd.as_raw_fd() == target {
        return set_cloexec(fd, false);
    }
    // SAFETY: dup2 only changes the descriptor table; whoever owned `target` is, by the contract of this function,
    // about to be replaced (it is only called between fork and exec, for the standard streams).
    let result = unsafe { libc::dup2(fd.as_raw_fd(), target) };
    checked(libc::c_long::from(result), || format!("dup2({}, {target})", fd.as_raw_fd()))?;
    Ok(())
}

/// Sets or clears close-on-exec.
pub fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let flags = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD changes one flag of an open descriptor.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flags) };
    checked(libc::c_long::from(result), || format!("fcntl({}, F_SETFD, {flags})", fd.as_raw_fd()))?;
    Ok(())
}

/// Has what was written to a file go to the disk, without waiting for it (`sync_file_range(2)`).
pub fn begin_writeback(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes numbers only; a length of 0 is all of the file.
    let result = unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    checked(libc::c_long::from(result), || format!("sync_file_range({}, SYNC_FILE_RANGE_WRITE)", fd.as_raw_fd()))?;
    Ok(())
}

/// Has btrfs write this file in place and without checksums; it is empty still. Of other file systems nothing is asked.
///
/// What is written past the cache by who may change it meanwhile (a loop device does) would not match its checksum, and could not
/// be read again (btrfs before Linux 6.15).
#[cfg(feature = "daemon")]
pub fn write_in_place(file: BorrowedFd<'_>) -> Result<()> {
    use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};
    const FS_IOC_GETFLAGS: libc::c_ulong = 0x8008_6601;
    const FS_IOC_SETFLAGS: libc::c_ulong = 0x4008_6602;
    const FS_NOCOW_FL: libc::c_int = 0x0080_0000;
    if !fstatfs(file).is_ok_and(|found| found.filesystem_type() == BTRFS_SUPER_MAGIC) {
        return Ok(());
    }
    let mut flags: libc::c_int = 0;
    // SAFETY: FS_IOC_GETFLAGS fills an int, which lives across the call.
    let found = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_GETFLAGS, &raw mut flags) };
    checked(found.into(), || format!("ioctl({}, FS_IOC_GETFLAGS)", file.as_raw_fd()))?;
    flags |= FS_NOCOW_FL;
    // SAFETY: FS_IOC_SETFLAGS reads an int, which lives across the call.
    let set = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_SETFLAGS, &raw const flags) };
    checked(set.into(), || format!("ioctl({}, FS_IOC_SETFLAGS, {flags:#x})", file.as_raw_fd()))?;
    Ok(())
}

/// Marks every descriptor from `first` on close-on-exec (`close_range(2)`, Linux 5.11).
pub fn cloexec_from(first: RawFd) -> Result<()> {
    // SAFETY: only sets a flag on descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    checked(result, || format!("close_range({first}, ~0, CLOEXEC)"))?;
    Ok(())
}

/// Closes every descriptor but those in `keep`: for the moment after a fork, when the child owns only what it was
/// forked for and everything else in the inherited table is its parent's.
///
/// Owners of the closed numbers must not be dropped afterwards; the child leaves its parent's stack by never returning.
pub fn close_all_but(keep: &[RawFd]) -> Result<()> {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut first = 0;
    for kept in keep {
        if kept > first {
            close_range(first, kept - 1)?;
        }
        first = kept + 1;
    }
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> Result<()> {
    // SAFETY: only changes the descriptor table; who owns the numbers is the contract of the caller above.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    checked(result, || format!("close_range({first}, {last}, 0)"))?;
    Ok(())
}

/// Whether a file is the kernel's own (proc, sysfs, cgroups, message queues): its content is made while it is read, and
/// reading it may wait.
pub fn is_of_kernel(file: BorrowedFd<'_>) -> bool {
    use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};
    /// `MQUEUE_MAGIC` of the kernel's `ipc/mqueue.c`.
    const MQUEUE: FsType = FsType(0x1980_0202);
    fstatfs(file).map_or(true, |found| {
        let kind = found.filesystem_type();
        [PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, MQUEUE].contains(&kind)
    })
}
