//! What a sandbox must not be able to do, tried one by one. Each attempt is harmless where it succeeds.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use nix::errno::Errno;
use serde_json::{Value, json};

use super::raw::{call, name};

pub fn make() -> Value {
    json!({ "calls": calls(), "sockets": sockets(), "writes": writes(), "reads": reads(), "masked": masked() })
}

fn pointer(text: &std::ffi::CStr) -> u64 {
    text.as_ptr() as u64
}

/// Calls that reach for the kernel, other namespaces or other processes.
fn calls() -> BTreeMap<&'static str, String> {
    let (tmp, none, proc, tmpfs) = (pointer(c"/tmp"), pointer(c"none"), pointer(c"/proc"), pointer(c"tmpfs"));
    let ns = |kind: i32| kind.cast_unsigned().into();
    let mut found = BTreeMap::new();
    let mut attempt = |name, number: i64, arguments: [u64; 6]| drop(found.insert(name, call(number, arguments)));
    attempt("mount tmpfs", libc::SYS_mount, [none, tmp, tmpfs, 0, 0, 0]);
    attempt("remount /proc", libc::SYS_mount, [none, proc, 0, libc::MS_REMOUNT, 0, 0]);
    attempt("umount2 /proc", libc::SYS_umount2, [proc, libc::MNT_DETACH as u64, 0, 0, 0, 0]);
    attempt("pivot_root", libc::SYS_pivot_root, [tmp, tmp, 0, 0, 0, 0]);
    attempt("fsopen", libc::SYS_fsopen, [tmpfs, 0, 0, 0, 0, 0]);
    attempt("open_tree", libc::SYS_open_tree, [libc::AT_FDCWD as u64, tmp, 1, 0, 0, 0]);
    attempt("unshare user", libc::SYS_unshare, [ns(libc::CLONE_NEWUSER), 0, 0, 0, 0, 0]);
    attempt("unshare mount", libc::SYS_unshare, [ns(libc::CLONE_NEWNS), 0, 0, 0, 0, 0]);
    attempt("clone user", libc::SYS_clone, [ns(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0, 0, 0, 0]);
    attempt("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0, 0]);
    attempt("setns", libc::SYS_setns, [0, 0, 0, 0, 0, 0]);
    attempt("keyctl", libc::SYS_keyctl, [0, 0, 0, 0, 0, 0]);
    attempt("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0, 0]);
    attempt("request_key", libc::SYS_request_key, [0, 0, 0, 0, 0, 0]);
    attempt("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0, 0]);
    attempt("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0, 0, 0, 0]);
    attempt("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0]);
    attempt("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]);
    attempt("open_by_handle_at", libc::SYS_open_by_handle_at, [0, 0, 0, 0, 0, 0]);
    attempt("name_to_handle_at", libc::SYS_name_to_handle_at, [0, 0, 0, 0, 0, 0]);
    attempt("init_module", libc::SYS_init_module, [0, 0, 0, 0, 0, 0]);
    attempt("finit_module", libc::SYS_finit_module, [0, 0, 0, 0, 0, 0]);
    attempt("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0, 0, 0]);
    attempt("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0, 0]);
    attempt("swapon", libc::SYS_swapon, [0, 0, 0, 0, 0, 0]);
    attempt("syslog", libc::SYS_syslog, [10, 0, 0, 0, 0, 0]);
    attempt("quotactl", libc::SYS_quotactl, [0, 0, 0, 0, 0, 0]);
    attempt("acct", libc::SYS_acct, [tmp, 0, 0, 0, 0, 0]);
    attempt("settimeofday", libc::SYS_settimeofday, [0, 0, 0, 0, 0, 0]);
    attempt("sethostname", libc::SYS_sethostname, [tmp, 4, 0, 0, 0, 0]);
    attempt("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0, 0]);
    attempt("pidfd_getfd", libc::SYS_pidfd_getfd, [0, 0, 0, 0, 0, 0]);
    attempt("memfd_secret", libc::SYS_memfd_secret, [0, 0, 0, 0, 0, 0]);
    attempt("ptrace PID 1", libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), 1, 0, 0, 0, 0]);
    let (mut into, mut from) = ([0_u64; 1], [0x1000_u64, 8]);
    let into = [into.as_mut_ptr() as u64, 8];
    attempt("read PID 1", libc::SYS_process_vm_readv, [1, into.as_ptr() as u64, 1, from.as_mut_ptr() as u64, 1, 0]);
    attempt("no address randomisation", libc::SYS_personality, [0x004_0000, 0, 0, 0, 0, 0]);
    attempt("TIOCSTI", libc::SYS_ioctl, [0, libc::TIOCSTI, tmp, 0, 0, 0]);
    attempt("TIOCLINUX", libc::SYS_ioctl, [0, 0x541C, tmp, 0, 0, 0]);
    attempt("x32", 0x4000_0000 | libc::SYS_getpid, [0, 0, 0, 0, 0, 0]);
    attempt("beyond the table", 480, [0, 0, 0, 0, 0, 0]);
    let at = libc::AT_FDCWD as u64;
    let device = |major, minor| nix::sys::stat::makedev(major, minor);
    attempt(
        "mknod mem",
        libc::SYS_mknodat,
        [at, pointer(c"/tmp/mem"), (libc::S_IFCHR | 0o666).into(), device(1, 1), 0, 0],
    );
    attempt(
        "mknod sda",
        libc::SYS_mknodat,
        [at, pointer(c"/tmp/sda"), (libc::S_IFBLK | 0o666).into(), device(8, 0), 0, 0],
    );
    attempt("mknod whiteout", libc::SYS_mknodat, [at, pointer(c"/tmp/gone"), libc::S_IFCHR.into(), device(0, 0), 0, 0]);
    attempt("chown outside", libc::SYS_fchownat, [at, tmp, 70_000, 70_000, 0, 0]);
    attempt("setuid outside", libc::SYS_setuid, [70_000, 0, 0, 0, 0, 0]);
    attempt("set trusted xattr", libc::SYS_setxattr, [tmp, pointer(c"trusted.x"), tmp, 1, 0, 0]);
    found
}

/// The socket families that can be opened, by number; for netlink also the protocols.
fn sockets() -> Value {
    let open = |family: u64, kind: i32, protocol: u64| {
        call(libc::SYS_socket, [family, (kind | libc::SOCK_CLOEXEC).cast_unsigned().into(), protocol, 0, 0, 0])
    };
    let kinds = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET];
    let families: Vec<u64> =
        (0..64).filter(|family| kinds.iter().any(|kind| open(*family, *kind, 0) == "ok")).collect();
    let netlink: Vec<u64> = (0..32).filter(|protocol| open(16, libc::SOCK_RAW, *protocol) == "ok").collect();
    json!({ "families": families, "netlink": netlink, "raw": open(2, libc::SOCK_RAW, 1), "packet": open(17, libc::SOCK_RAW, 0) })
}

/// Files that rule the host or PID 1, opened for writing.
fn writes() -> BTreeMap<&'static str, String> {
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/file-max",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sysrq-trigger",
        "/proc/1/oom_score_adj",
        "/proc/1/mem",
        "/proc/self/oom_score_adj",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state",
    ];
    files.into_iter().map(|path| (path, write(path))).collect()
}

/// Writing back what stands there changes nothing where it succeeds; where it cannot be read, a single 0 does not either.
fn write(path: &str) -> String {
    let content =
        if path == "/proc/self/oom_score_adj" { b"-1000".to_vec() } else { fs::read(path).unwrap_or_default() };
    let content = if content.is_empty() { b"0".to_vec() } else { content };
    let opened = fs::OpenOptions::new().write(true).open(path);
    told(opened.and_then(|mut file| file.write_all(&content)))
}

fn told<T>(result: std::io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => name(Errno::from_raw(error.raw_os_error().unwrap_or_default())),
    }
}

/// What belongs to PID 1 or to the kernel, opened for reading, or followed.
fn reads() -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    for path in ["/proc/1/environ", "/proc/1/mem", "/proc/1/maps", "/proc/1/auxv", "/dev/mem", "/dev/kmsg"] {
        found.insert(path, told(fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut [0]))));
    }
    for path in ["/proc/1/root", "/proc/1/cwd", "/proc/1/exe", "/proc/1/ns/mnt"] {
        found.insert(path, told(fs::read_link(path)));
    }
    found.insert("/proc/1/fd", told(fs::read_dir("/proc/1/fd")));
    found
}

/// What hidden paths show: `absent`, `empty`, or what is wrong.
fn masked() -> BTreeMap<&'static str, String> {
    let paths = [
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kallsyms",
        "/proc/kcore",
        "/proc/keys",
        "/proc/kmsg",
        "/proc/kpagecount",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/slabinfo",
        "/proc/timer_list",
        "/proc/vmallocinfo",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
        "/sys/fs/bpf",
        "/sys/kernel/debug",
        "/sys/kernel/security",
        "/sys/kernel/slab",
        "/sys/module",
    ];
    paths.into_iter().map(|path| (path, shown(path))).collect()
}

fn shown(path: &str) -> String {
    match fs::metadata(path) {
        Err(_) => "absent".to_owned(),
        Ok(metadata) if metadata.is_dir() => match fs::read_dir(path).map(Iterator::count) {
            Ok(0) => "empty".to_owned(),
            other => format!("{other:?}"),
        },
        Ok(_) => match fs::read(path) {
            Ok(content) if content.is_empty() => "empty".to_owned(),
            other => format!("{} bytes", other.map_or(0, |content| content.len())),
        },
    }
}
