//! What a sandbox has, sees and can do, from inside, against what it should.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::Daemon;

/// The eleven capabilities of `capabilities(7)` that root inside keeps: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID,
/// SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, SETFCAP.
const CAPABILITIES: &str = "00000000800405fb";

/// The probe is a Rust program, and those ignore `SIGPIPE` themselves.
const SIGPIPE_ALONE: &str = "0000000000001000";

fn probe(daemon: &Daemon, what: &str) -> (String, Value) {
    let sandbox = daemon.create(&["/bin/probe", what]);
    let status = sandbox.ended();
    let log = sandbox.log();
    let found = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {status}: {log}"));
    (sandbox.id.clone(), found)
}

#[test]
fn the_posture_is_as_documented() {
    let Some(daemon) = Daemon::start("the_posture_is_as_documented") else { return };
    let (id, found) = probe(&daemon, "posture");
    let short: String = id.replace('-', "").chars().take(12).collect();
    let status = json!({
        "Umask": "0022", "Uid": "0 0 0 0", "Gid": "0 0 0 0", "Groups": "0", "CapInh": "0000000000000000",
        "CapPrm": CAPABILITIES, "CapEff": CAPABILITIES, "CapBnd": CAPABILITIES, "CapAmb": "0000000000000000",
        "NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1", "SigBlk": "0000000000000000",
        "SigIgn": SIGPIPE_ALONE, "PPid": "1",
    });
    assert_eq!(found["status"], status);
    for (field, expected) in [
        ("descriptors", json!({"0": "/dev/null", "1": found["descriptors"]["1"], "2": found["descriptors"]["2"]})),
        ("hostname", json!(short)),
        ("domainname", json!("(none)")),
        ("cwd", json!("/")),
        ("pid", json!(2)),
        ("session", json!(2)),
        ("processes", json!(["1", "2"])),
        ("links", json!(["lo"])),
        ("oom_score_adj", json!("500")),
        ("root_owner", json!([0, 0])),
        ("setgroups", json!("allow")),
    ] {
        assert_eq!(found[field], expected, "{field}");
    }
    for stream in ["1", "2"] {
        assert!(found["descriptors"][stream].as_str().is_some_and(|target| target.starts_with("pipe:")));
    }
    let cgroups = found["cgroup"].as_array().expect("cgroups");
    check_cgroups(cgroups);
    check_ids(&found);
    check_limits(&found["limits"]);
}

/// Those that a sandbox has show their own root; the rest are of controllers that the daemon does not use.
fn check_cgroups(cgroups: &[Value]) {
    assert!(cgroups.contains(&json!("0::/")), "{cgroups:?}");
    for line in cgroups.iter().filter_map(Value::as_str) {
        let of_ours = ["cpu", "memory", "pids", "blkio", "devices"];
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        assert!(!names.split(',').any(|name| of_ours.contains(&name)) || path == "/", "{line}");
    }
}

/// 65,536 ids, none of them one of the host's own.
fn check_ids(found: &Value) {
    for map in ["uid_map", "gid_map"] {
        let map = found[map].as_str().expect("a map");
        let numbers: Vec<u64> = map.split(' ').filter_map(|number| number.parse().ok()).collect();
        assert!(matches!(numbers.as_slice(), [0, base, 65_536] if *base >= 1 << 30), "{map}");
    }
}

fn check_limits(limits: &Value) {
    // Never more than the daemon itself may have.
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit");
    assert_eq!(limits["Max open files"], json!(["1024", hard.min(65_536).to_string()]));
    for (name, expected) in [
        ("Max core file size", ["0", "0"]),
        ("Max locked memory", ["8388608", "8388608"]),
        ("Max nice priority", ["0", "0"]),
        ("Max realtime priority", ["0", "0"]),
        ("Max msgqueue size", ["819200", "819200"]),
        ("Max pending signals", ["4096", "4096"]),
    ] {
        assert_eq!(limits[name], json!(expected), "{name}");
    }
}

#[test]
fn namespaces_are_its_own() {
    let Some(daemon) = Daemon::start("namespaces_are_its_own") else { return };
    let (first, second) = (probe(&daemon, "posture").1, probe(&daemon, "posture").1);
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let host = fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace").display().to_string();
        let names = [&first, &second].map(|found| found["namespaces"][kind].as_str().unwrap_or_default().to_owned());
        assert!(names.iter().all(|name| *name != host && !name.is_empty()), "{kind}: {names:?}, the host {host}");
    }
    assert!(first["uid_map"] != second["uid_map"], "two sandboxes had the same ids");
}

#[test]
fn mounts_and_devices_are_as_documented() {
    let Some(daemon) = Daemon::start("mounts_and_devices_are_as_documented") else { return };
    let (_, found) = probe(&daemon, "posture");
    let mounts: Vec<[String; 3]> = serde_json::from_value(found["mounts"].clone()).expect("mounts");
    let of = |point: &str| mounts.iter().find(|mount| mount[0] == point).unwrap_or_else(|| panic!("no {point}"));
    for (point, kind, options) in [
        ("/", "overlay", "rw,nodev"),
        ("/proc", "proc", "rw,nosuid,nodev,noexec"),
        ("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
        ("/dev", "tmpfs", "rw,nosuid,noexec"),
        ("/dev/pts", "devpts", "rw,nosuid,noexec"),
        ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec"),
        ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec"),
        ("/proc/sys", "proc", "ro,nosuid,nodev,noexec"),
    ] {
        let [_, found_kind, found_options] = of(point);
        let found_options: BTreeSet<&str> = found_options.split(',').filter(|option| *option != "relatime").collect();
        assert_eq!((found_kind.as_str(), found_options), (kind, options.split(',').collect()), "{point}");
    }
    let known = |point: &str| ["/proc/", "/sys/"].iter().any(|below| point.starts_with(below));
    let rest: Vec<&[String; 3]> = mounts.iter().filter(|mount| known(&mount[0])).collect();
    assert!(rest.iter().all(|mount| mount[2].starts_with("ro,")), "{rest:?}");
    let expected = json!({
        "fd": "-> /proc/self/fd", "full": "device 1:7 666", "mqueue": "directory 755", "null": "device 1:3 666",
        "ptmx": "-> pts/ptmx", "pts": "directory 755", "random": "device 1:8 666", "shm": "directory 1777",
        "stderr": "-> /proc/self/fd/2", "stdin": "-> /proc/self/fd/0", "stdout": "-> /proc/self/fd/1",
        "tty": "device 5:0 666", "urandom": "device 1:9 666", "zero": "device 1:5 666",
    });
    let mut devices = found["devices"].clone();
    // The root of a message queue file system has the mode that the kernel gives it.
    devices["mqueue"] = json!("directory 755");
    assert_eq!(devices, expected);
}

#[test]
fn what_must_fail_fails() {
    let Some(daemon) = Daemon::start("what_must_fail_fails") else { return };
    let (_, found) = probe(&daemon, "attempts");
    let calls = found["calls"].as_object().expect("calls");
    for (name, outcome) in calls {
        let expected = match name.as_str() {
            "clone3" | "beyond the table" => "ENOSYS",
            "chown outside" | "setuid outside" => "EINVAL",
            _ => "EPERM",
        };
        assert_eq!(outcome, expected, "{name}");
    }
    let sockets = json!({"families": [1, 2, 10, 16], "netlink": [0], "raw": "EPERM", "packet": "EAFNOSUPPORT"});
    assert_eq!(found["sockets"], sockets);
    for part in ["writes", "reads"] {
        for (path, outcome) in found[part].as_object().expect("attempts") {
            let refused = ["EROFS", "EACCES", "EPERM", "ENOENT"].iter().any(|errno| outcome == errno);
            assert!(refused, "{part} {path}: {outcome}");
        }
    }
    for (path, outcome) in found["masked"].as_object().expect("paths") {
        assert!(outcome == "absent" || outcome == "empty", "{path}: {outcome}");
    }
}

#[test]
fn calls_of_other_architectures_are_refused() {
    let Some(daemon) = Daemon::start("calls_of_other_architectures_are_refused") else { return };
    let sandbox = daemon.create(&["/bin/probe", "i386"]);
    let status = sandbox.ended();
    // A kernel without that entry ends the process by SIGSEGV.
    assert!(sandbox.log().trim() == "\"EPERM\"" || status["exitCode"] == 139, "{status}: {}", sandbox.log());
}

#[test]
fn two_sandboxes_do_not_see_each_other() {
    let Some(daemon) = Daemon::start("two_sandboxes_do_not_see_each_other") else { return };
    let writer = daemon.create(&["sh", "-c", "touch /tmp/mine /dev/shm/mine; sleep 1000000"]);
    let reader = daemon.create(&["sh", "-c", "ls /tmp /dev/shm; ls -d /proc/[0-9]*"]);
    reader.ended();
    let log = reader.log();
    assert!(!log.contains("mine"), "{log}");
    assert_eq!(log.lines().filter(|line| line.starts_with("/proc/")).count(), 2, "{log}");
    assert_eq!(writer.state(), "Running");
}

#[test]
fn what_a_sandbox_writes_belongs_to_its_own_range() {
    let Some(daemon) = Daemon::start("what_a_sandbox_writes_belongs_to_its_own_range") else { return };
    let script = "touch /root/x; chmod 4755 /root/x; touch /tmp/y; sleep 1000000";
    let sandbox = daemon.create(&["sh", "-c", script]);
    let upper = daemon.state_dir().join("sandboxes").join(&sandbox.id).join("upper");
    crate::harness::until("written", || {
        let path = upper.join("tmp/y");
        let metadata = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let owner = std::os::unix::fs::MetadataExt::uid(&metadata);
        if owner >= 1 << 30 { Ok(()) } else { Err(format!("owned by {owner}")) }
    });
    let state = fs::metadata(daemon.state_dir().join("sandboxes")).expect("a directory");
    let mode = std::os::unix::fs::PermissionsExt::mode(&state.permissions());
    assert_eq!(mode & 0o077, 0, "users of the host could reach what sandboxes write");
}

#[test]
fn what_one_sandbox_uses_up_is_its_own() {
    let Some(daemon) = Daemon::start("what_one_sandbox_uses_up_is_its_own") else { return };
    let used_up = || -> Value {
        let sandbox = daemon.create(&["/bin/probe", "exhaust"]);
        crate::harness::until("used up", || {
            let log = sandbox.log();
            serde_json::from_str(&log).map_err(|error| format!("{error}: {log}"))
        })
    };
    // Kept in one sandbox while the other takes the same.
    let (found, again): (Value, Value) = (used_up(), used_up());
    for kind in ["terminals", "watchers", "queues"] {
        let counts = [&found, &again].map(|found| found[kind].as_u64().unwrap_or_default());
        assert!(counts[0] > 0 && counts[0] == counts[1], "{kind}: {counts:?}");
    }
    assert_eq!(found["terminals"], 256);
    let flags = nix::sys::inotify::InitFlags::IN_CLOEXEC;
    nix::sys::inotify::Inotify::init(flags).expect("root of the host can still watch files");
}

#[test]
fn output_can_be_opened_by_name_but_not_read() {
    let Some(daemon) = Daemon::start("output_can_be_opened_by_name_but_not_read") else { return };
    let script = "echo one >/dev/stdout; echo two >>/dev/stderr; cat </dev/stdout; echo three >/proc/self/fd/1";
    let sandbox = daemon.create(&["sh", "-c", script]);
    sandbox.ended();
    let log = sandbox.log();
    // The two streams may meet within a line.
    assert!(["one", "two", "three"].iter().all(|word| log.contains(word)), "{log}");
    assert!(log.contains("can't open /dev/stdout"), "{log}");
}

/// A program that is started as itself would be PID 1's: it must be no file of the host.
#[test]
fn the_program_of_process_1_is_out_of_reach() {
    let Some(daemon) = Daemon::start("the_program_of_process_1_is_out_of_reach") else { return };
    let sandbox =
        daemon.create(&["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; ls -l /proc/1/exe; cat /proc/1/environ"]);
    let status = sandbox.ended();
    let log = sandbox.log();
    assert_eq!(status["state"], "Failed", "{log}");
    assert!(log.contains("bivouac-init launch-sealed"), "{log}");
    assert!(!log.contains(&daemon.path("").display().to_string()), "{log}");
    let own = daemon.create(&["/proc/self/exe", "launch", "/"]);
    let ended = own.ended();
    assert_eq!(ended["state"], "Failed", "{ended}");
    let launcher = crate::harness::programs_of(&daemon.path(""))
        .into_iter()
        .find_map(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok().map(|path| path.display().to_string()));
    assert!(launcher.as_ref().is_some_and(|path| path.starts_with("/memfd:bivouac-init")), "{launcher:?}");
}
