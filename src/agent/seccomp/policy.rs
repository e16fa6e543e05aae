//! Which system calls are allowed, with which arguments.
//!
//! The base is what container engines allow by default. What is taken away: everything that opens fresh kernel code to
//! a tenant (`io_uring_*`, `bpf`, `userfaultfd`, `perf_event_open`), handles that reach past the root
//! (`open_by_handle_at`), key rings, namespaces, mounts, and socket families other than Unix, IPv4, IPv6 and route
//! netlink. A denied call fails with `EPERM`, one that the list does not know with `ENOSYS`, so that a C library falls
//! back as it would on an older kernel.

use libc::{EAFNOSUPPORT, ENOSYS, EPERM};

/// What happens to one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Allow,
    /// Fails with this error.
    Errno(i32),
    Check(Rule),
}

/// Decisions that need an argument. Arguments are compared by their low 32 bits, which is what the kernel uses of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `clone` without any `CLONE_NEW*`.
    CloneWithoutNamespaces,
    /// The five harmless values of `personality`.
    HarmlessPersonality,
    /// `socket`/`socketpair` of an allowed family; netlink for routes only.
    AllowedFamily,
    /// Any `ioctl` but those of [`FORBIDDEN_IOCTLS`].
    HarmlessIoctl,
}

/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`.
pub(super) const NAMESPACE_FLAGS: u32 = 0x7E02_0000;
/// `PER_LINUX`, `PER_LINUX32`, `UNAME26` with each, and the query.
pub(super) const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];
pub(super) const FAMILIES: [u32; 3] = [libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32];
pub(super) const FAMILY_NETLINK: u32 = libc::AF_NETLINK as u32;
pub(super) const NETLINK_ROUTE: u32 = 0;
/// Those that push input into a terminal: `TIOCSTI` and `TIOCLINUX`; and those that change the flags and the project of a file:
/// `FS_IOC_SETFLAGS`, `FS_IOC32_SETFLAGS` and `FS_IOC_FSSETXATTR`. An overlay asks with the rights of who asks what the file below
/// was, and sets what was asked for with the rights of who mounted it (`ovl_fileattr_set`): a file of the image, or all that is made
/// in a directory of it, would leave the project by which the sandbox's disk is bounded.
pub(super) const FORBIDDEN_IOCTLS: [u32; 5] = [0x5412, 0x541C, 0x4008_6602, 0x4004_6602, 0x401C_5820];
pub(super) const FAMILY_ERROR: i32 = EAFNOSUPPORT;
pub(super) const DENIED: i32 = EPERM;
pub(super) const UNKNOWN: i32 = ENOSYS;

/// The highest call that the list takes a decision on; above it is `ENOSYS`.
pub(super) const HIGHEST_KNOWN: u32 = 470;

/// Every system call with an action other than [`DENIED`], sorted by number, no number twice.
#[must_use]
pub fn policy() -> Vec<(u32, Action)> {
    let mut list: Vec<(u32, Action)> = Vec::new();
    let all = COMMON.iter().chain(LEGACY).chain(&RECENT);
    list.extend(all.map(|number| (number_of(*number), Action::Allow)));
    list.push((number_of(libc::SYS_clone3), Action::Errno(ENOSYS)));
    let checked = [
        (libc::SYS_clone, Rule::CloneWithoutNamespaces),
        (libc::SYS_personality, Rule::HarmlessPersonality),
        (libc::SYS_socket, Rule::AllowedFamily),
        (libc::SYS_socketpair, Rule::AllowedFamily),
        (libc::SYS_ioctl, Rule::HarmlessIoctl),
    ];
    list.extend(checked.map(|(number, rule)| (number_of(number), Action::Check(rule))));
    list.sort_by_key(|(number, _)| *number);
    list
}

fn number_of(number: libc::c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// On every architecture.
#[rustfmt::skip]
const COMMON: &[libc::c_long] = calls![
    SYS_accept SYS_accept4 SYS_acct SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_chroot
    SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect
    SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
    SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64
    SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr
    SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex
    SYS_futex_waitv SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups
    SYS_getitimer SYS_get_mempolicy SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom
    SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list SYS_getrusage SYS_getsid SYS_getsockname
    SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch SYS_inotify_init1
    SYS_inotify_rm_watch SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_setup SYS_io_submit
    SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr
    SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock
    SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive
    SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock
    SYS_munlockall SYS_munmap SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open
    SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64
    SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv
    SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead
    SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat2
    SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo
    SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_getaffinity
    SYS_sched_getattr SYS_sched_getparam SYS_sched_get_priority_max SYS_sched_get_priority_min
    SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam
    SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile
    SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid
    SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list
    SYS_setsid SYS_setsockopt SYS_set_tid_address SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget
    SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync
    SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete
    SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime
    SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice
    SYS_wait4 SYS_waitid SYS_write SYS_writev
];

/// The older calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const LEGACY: &[libc::c_long] = calls![
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
    SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp
    SYS_inotify_init SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll
    SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_select SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink
    SYS_utime SYS_utimes SYS_vfork SYS_get_thread_area SYS_set_thread_area
];

#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[libc::c_long] = calls![SYS_renameat];

/// Calls that have one number on every architecture and that `libc` does not name everywhere:
/// `set_mempolicy_home_node` stays out; `cachestat`, `fchmodat2`, `map_shadow_stack`, `futex_wake`, `futex_wait`,
/// `futex_requeue`, `mseal`, and the `*xattrat` family.
const RECENT: [libc::c_long; 11] = [451, 452, 453, 454, 455, 456, 462, 463, 464, 465, 466];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_stands_twice() {
        let list = policy();
        assert!(list.windows(2).all(|pair| pair[0].0 < pair[1].0), "a number stands twice");
        assert!(list.last().is_some_and(|(number, _)| *number <= HIGHEST_KNOWN));
    }

    #[test]
    fn what_must_never_be_allowed_is_not() {
        let list = policy();
        for denied in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_open_by_handle_at,
            libc::SYS_pidfd_getfd,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_fsopen,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_pivot_root,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_kcmp,
            libc::SYS_quotactl,
            libc::SYS_syslog,
        ] {
            assert!(!list.iter().any(|(number, _)| i64::from(*number) == denied), "{denied} is listed");
        }
    }
}
