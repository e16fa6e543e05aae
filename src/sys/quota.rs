//! Project quotas (`quotactl(2)`, `ioctl_xfs_fsgetxattr(2)`): what all files of one number may take of a file system.
//!
//! The calls are those that ext4 and xfs have in common; a file system is named by any descriptor on it
//! (`quotactl_fd(2)`, Linux 5.14). All of them take root on the host.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::error::{Result, checked};

/// `PRJQUOTA` of `linux/quota.h`.
const PROJECT: u32 = 2;
const Q_GETQUOTA: u32 = 0x80_0007;
const Q_SETQUOTA: u32 = 0x80_0008;
const Q_GETNEXTQUOTA: u32 = 0x80_0009;
/// `XQM_CMD(8)` of `linux/dqblk_xfs.h`, which every file system with quotas answers.
const Q_XGETQSTATV: u32 = 0x5808;
const FS_QSTATV_VERSION1: i8 = 1;
const FS_QUOTA_PDQ_ACCT: u16 = 1 << 4;
const FS_QUOTA_PDQ_ENFD: u16 = 1 << 5;
/// The limits are what is set, and nothing else.
const QIF_LIMITS: u32 = 5;
/// Limits of room are in units of so many bytes (`QIF_DQBLKSIZE`).
pub const QUOTA_UNIT: u64 = 1024;

const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801C_581F;
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401C_5820;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;

/// `struct if_nextdqblk` of `linux/quota.h`; `struct if_dqblk` is the same but for the last field, which is padding there.
#[repr(C)]
#[derive(Debug, Default)]
struct NextQuota {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
    id: u32,
}

/// `struct fs_quota_statv` of `linux/dqblk_xfs.h`, of which only the flags are looked at.
#[repr(C)]
#[derive(Default)]
struct QuotaState {
    version: i8,
    padding: u8,
    flags: u16,
    rest: [u32; 21],
    reserved: [u64; 9],
}

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Debug, Default)]
struct FileAttributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

const _: () = assert!(size_of::<NextQuota>() == 72 && size_of::<QuotaState>() == 160);
const _: () = assert!(size_of::<FileAttributes>() == 28);

/// What a file system does with projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectQuotas {
    pub counted: bool,
    pub enforced: bool,
}

/// What a project uses and may use; a limit of 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
    pub inodes: u64,
    /// In units of [`QUOTA_UNIT`].
    pub most_units: u64,
    pub most_inodes: u64,
}

/// The project that a file or directory is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfProject {
    pub id: u32,
    /// What is made in the directory is of it too.
    pub inherited: bool,
}

/// Whether projects are counted and bounded on the file system that `fs` is on (`Q_XGETQSTATV`).
///
/// # Errors
/// `ENOSYS`, `EINVAL` or `ENOTTY` where it has no quotas.
pub fn project_quotas(fs: BorrowedFd<'_>) -> Result<ProjectQuotas> {
    let mut state = QuotaState { version: FS_QSTATV_VERSION1, ..QuotaState::default() };
    // SAFETY: Q_XGETQSTATV reads the version and fills a fs_quota_statv of that version, whose size this is, and which lives
    // across the call.
    let result =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, fs.as_raw_fd(), command(Q_XGETQSTATV), 0, &raw mut state) };
    checked(result, || format!("quotactl_fd([{}], Q_XGETQSTATV, PRJQUOTA)", fs.as_raw_fd()))?;
    let has = |flag| state.flags & flag != 0;
    Ok(ProjectQuotas { counted: has(FS_QUOTA_PDQ_ACCT), enforced: has(FS_QUOTA_PDQ_ENFD) })
}

/// What a project uses and may use; nothing of either when the file system does not know it.
pub fn project_quota(fs: BorrowedFd<'_>, id: u32) -> Result<Quota> {
    match quota(fs, Q_GETQUOTA, id, &mut NextQuota::default(), "Q_GETQUOTA") {
        Err(error) if error.errno == Errno::ENOENT => Ok(Quota::default()),
        told => told,
    }
}

/// The first project from this number on of which the file system knows anything.
pub fn next_project_quota(fs: BorrowedFd<'_>, from: u32) -> Result<Option<(u32, Quota)>> {
    let mut found = NextQuota::default();
    match quota(fs, Q_GETNEXTQUOTA, from, &mut found, "Q_GETNEXTQUOTA") {
        Err(error) if error.errno == Errno::ENOENT => Ok(None),
        told => told.map(|quota| Some((found.id, quota))),
    }
}

/// Bounds a project: room in units of [`QUOTA_UNIT`], and files. 0 takes a limit off.
pub fn limit_project(fs: BorrowedFd<'_>, id: u32, units: u64, inodes: u64) -> Result<()> {
    let mut wanted = NextQuota { hard_blocks: units, hard_inodes: inodes, valid: QIF_LIMITS, ..NextQuota::default() };
    quota(fs, Q_SETQUOTA, id, &mut wanted, "Q_SETQUOTA").map(drop)
}

fn quota(fs: BorrowedFd<'_>, what: u32, id: u32, about: &mut NextQuota, name: &str) -> Result<Quota> {
    // SAFETY: the three commands that come here read or fill a structure of this size, which lives across the call.
    let result = unsafe { libc::syscall(libc::SYS_quotactl_fd, fs.as_raw_fd(), command(what), id, &raw mut *about) };
    checked(result, || format!("quotactl_fd([{}], {name}, PRJQUOTA, {id}, {about:?})", fs.as_raw_fd()))?;
    Ok(Quota {
        bytes: about.bytes,
        inodes: about.inodes,
        most_units: about.hard_blocks,
        most_inodes: about.hard_inodes,
    })
}

/// `QCMD` of `linux/quota.h`, for projects.
const fn command(what: u32) -> u32 {
    what << 8 | PROJECT
}

/// The project of an open file or directory (`FS_IOC_FSGETXATTR`).
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` where there are none.
pub fn project_of(fd: BorrowedFd<'_>) -> Result<OfProject> {
    let found = attributes(fd)?;
    Ok(OfProject { id: found.project, inherited: found.flags & FS_XFLAG_PROJINHERIT != 0 })
}

/// Makes an open directory, and all that will be made in it, one of this project (`FS_IOC_FSSETXATTR`).
pub fn set_project(dir: BorrowedFd<'_>, id: u32) -> Result<()> {
    let mut wanted = attributes(dir)?;
    wanted.project = id;
    wanted.flags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: FS_IOC_FSSETXATTR reads a fsxattr, whose layout this is, and which lives across the call.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSSETXATTR, &raw const wanted) };
    checked(result.into(), || format!("ioctl([{}], FS_IOC_FSSETXATTR, projid={id})", dir.as_raw_fd()))?;
    Ok(())
}

fn attributes(fd: BorrowedFd<'_>) -> Result<FileAttributes> {
    let mut found = FileAttributes::default();
    // SAFETY: FS_IOC_FSGETXATTR fills a fsxattr, whose layout this is, and which lives across the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FSGETXATTR, &raw mut found) };
    checked(result.into(), || format!("ioctl([{}], FS_IOC_FSGETXATTR)", fd.as_raw_fd()))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn where_there_are_none_the_call_says_so() {
        let proc = File::open("/proc").expect("opened");
        let refused = project_quotas(proc.as_fd()).expect_err("no quotas in proc");
        assert!(refused.to_string().starts_with("quotactl_fd(["), "{refused}");
        assert!(project_of(proc.as_fd()).is_err() && set_project(proc.as_fd(), 1).is_err());
    }
}
