//! A bounded disk holds what was promised, and no more; nothing of it outlives its sandbox.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::files::Files;
use crate::harness::{Daemon, Kind, Sandbox, until};

/// Bytes and files that two floods got onto the disk, as the sandbox itself counts them.
pub const FILL: &str = "dd if=/dev/zero of=/full bs=64k 2>/dev/null; echo code $?; wc -c < /full; rm /full; \
                    i=0; while true > /many.$i; do i=$((i+1)); done 2>/dev/null; echo $i; true > /one-more && echo room; \
                    rm /many.*; echo done; sleep 1000000";

pub fn bounded(daemon: &Daemon, limits: Value, script: &str) -> Value {
    let mut request = daemon.request(&["sh", "-c", script]);
    request["resourceLimits"] = limits;
    request
}

pub fn lines(sandbox: &Sandbox<'_>, end: &str) -> Vec<String> {
    until(end, || {
        let log = sandbox.log();
        if log.lines().any(|line| line == end) { Ok(log.lines().map(str::to_owned).collect()) } else { Err(log) }
    })
}

/// Loop devices whose file is below this directory, or was.
fn loops(dir: PathBuf) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.filter(|file| file.starts_with(&*dir.to_string_lossy())).collect()
}

pub fn loops_of_sandboxes(daemon: &Daemon) -> Vec<String> {
    loops(daemon.state_dir().join("sandboxes"))
}

pub fn until_without_loops(daemon: &Daemon) {
    until("without a loop device", || match loops_of_sandboxes(daemon) {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    });
}

/// The files of the disks that nobody has yet, once there are so many of them and each has its device.
/// The number of an inode is given out again; with the time at which it was made it is that of one file.
fn identity(about: &fs::Metadata) -> (u64, SystemTime) {
    (about.ino(), about.created().expect("a time"))
}

fn until_ready(daemon: &Daemon, count: usize) -> BTreeSet<(u64, SystemTime)> {
    let dir = daemon.state_dir().join("disks/ready");
    until("with as many prepared disks", || {
        let files = fs::read_dir(&dir).into_iter().flatten().flatten();
        let files: BTreeSet<_> = files.filter_map(|file| file.metadata().ok()).map(|about| identity(&about)).collect();
        let devices = loops(dir.clone());
        if (files.len(), devices.len()) == (count, count) { Ok(files) } else { Err(format!("{files:?}, {devices:?}")) }
    })
}

fn image_of(daemon: &Daemon, id: &str) -> PathBuf {
    daemon.state_dir().join("sandboxes").join(id).join("disk.ext4")
}

#[test]
fn r3_a_nearly_full_host_takes_no_more_sandboxes() {
    let test = "r3_a_nearly_full_host_takes_no_more_sandboxes";
    let Some(mut daemon) = Daemon::start(test) else { return };
    let id = daemon.create(&["sleep", "1000000"]).id;
    daemon.stop();
    let mut command = daemon.command();
    command.env("BIVOUAC_RUNTIME_MIN_FREE_DISK", "1000Ti").args(["--listen", &daemon.address()]);
    daemon.run(command);
    let reply = daemon.client.post("/v1/sandboxes", &daemon.request(&["true"]));
    let told = reply.expect_error(507, "SANDBOX::INSUFFICIENT_STORAGE").to_string();
    assert!(told.contains("runtime.min_free_disk") && told.contains("MiB left"), "{told}");
    let made = fs::read_dir(daemon.state_dir().join("sandboxes")).expect("the directories of sandboxes").count();
    assert_eq!((made, daemon.client.get("/v1/sandboxes").json()["pagination"]["totalItems"].as_u64()), (1, Some(1)));
    let running = daemon.sandbox(&id);
    assert_eq!(running.state(), "Running");
    running.delete();
    running.until_unknown();
}

#[test]
fn r3_a_full_disk_is_the_sandboxs_own_and_goes_with_it() {
    let test = "r3_a_full_disk_is_the_sandboxs_own_and_goes_with_it";
    let Some(daemon) = Daemon::start_with(test, "prepared_disks = 1\n") else { return };
    let limits = json!({"disk": "24Mi", "inodes": "200"});
    // The first two of their size are made when they are asked for, those that follow were made before.
    let first = daemon.create_from(&bounded(&daemon, limits.clone(), FILL));
    check_filled(&first);
    check_told_when_full(&daemon);
    let second = daemon.create_from(&bounded(&daemon, limits.clone(), "sleep 1000000"));
    for sandbox in [first, second] {
        sandbox.delete();
        sandbox.until_unknown();
    }
    until_ready(&daemon, 1);
    until_without_loops(&daemon);
    let before = daemon.settled();
    let sandbox = daemon.create_from(&bounded(&daemon, limits, FILL));
    assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
    let neighbour = daemon.create(&["sh", "-c", "dd if=/dev/zero of=/file bs=1M count=40 2>/dev/null; echo code $?"]);
    check_filled(&sandbox);
    assert_eq!(lines(&neighbour, "code 0"), ["code 0"]);
    assert_eq!(loops_of_sandboxes(&daemon).len(), 1);
    sandbox.delete();
    neighbour.delete();
    until_without_loops(&daemon);
    for id in [&sandbox.id, &neighbour.id] {
        daemon.sandbox(id).until_unknown();
    }
    daemon.check_left(&before);
}

/// What [`FILL`] got onto a disk of 24 MiB and 200 files.
pub fn check_filled(sandbox: &Sandbox<'_>) {
    let told = lines(sandbox, "done");
    let number = |at: usize| told.get(at).and_then(|line| line.trim().parse::<u64>().ok()).unwrap_or_default();
    assert_eq!(told.first().map(String::as_str), Some("code 1"), "{told:?}");
    let (limit, written) = (24 << 20, number(1));
    assert!(written * 100 >= limit * 95 && written * 100 <= limit * 105, "{written} of {limit}: {told:?}");
    // Inodes come by the blocks that hold them, of 16 each.
    assert!((200..=216).contains(&number(2)), "{told:?}");
    assert!(!told.contains(&"room".to_owned()), "{told:?}");
    // Not every file system has counted what was removed by then.
    until("nearly empty", || {
        let disk = sandbox.stats()["disk"].clone();
        let small = |what: &str, most: u64| disk[what].as_u64().is_some_and(|used| used < most);
        if small("usedBytes", 1 << 20) && small("usedInodes", 20) { Ok(()) } else { Err(disk.to_string()) }
    });
}

/// What a sandbox with a full disk of 16 MiB is told, and what is told of it: the same, whatever bounds it.
pub fn check_told_when_full(daemon: &Daemon) {
    let script = "dd if=/dev/zero of=/full bs=64k 2>/dev/null; echo code $?; \
                  busybox df -m / | busybox awk 'END { print $2, $4 }'; echo full; sleep 1000000";
    let sandbox = daemon.create_from(&bounded(daemon, json!({"disk": "16Mi"}), script));
    assert_eq!(lines(&sandbox, "full"), ["code 1", "16 0", "full"], "df tells of its own disk");
    let used = sandbox.stats()["disk"]["usedBytes"].as_u64().unwrap_or_default();
    assert!(((16 << 20) * 95 / 100..=(16 << 20) * 105 / 100).contains(&used), "{used}");
    let refused = Files::of(daemon, &sandbox).upload(&[(json!({"path": "/more"}), &[0; 1 << 20])]);
    refused.expect_error(500, "RUNTIME_ERROR");
    sandbox.delete();
    sandbox.until_unknown();
}

#[test]
fn r3_a_disk_on_btrfs_holds_what_was_promised() {
    let test = "r3_a_disk_on_btrfs_holds_what_was_promised";
    let Some(daemon) = Daemon::start_on(test, Kind::Btrfs, "") else { return };
    let sandbox = daemon.create_from(&bounded(&daemon, json!({"disk": "24Mi", "inodes": "200"}), FILL));
    check_filled(&sandbox);
    assert_eq!(loops_of_sandboxes(&daemon).len(), 1);
    sandbox.delete();
    until_without_loops(&daemon);
}

#[test]
fn prepared_disks_are_taken_and_end_with_their_daemon() {
    let config = "prepared_disks = 2\n[limits]\ndefault_disk = '16Mi'\n";
    let test = "prepared_disks_are_taken_and_end_with_their_daemon";
    let Some(mut daemon) = Daemon::start_with(test, config) else { return };
    let sleeper = |daemon: &Daemon| daemon.create(&["sleep", "1000000"]).id;
    let disk = |daemon: &Daemon, id: &str| identity(&fs::metadata(image_of(daemon, id)).expect("its disk"));
    let ready = until_ready(&daemon, 2);
    let taken = sleeper(&daemon);
    assert!(ready.contains(&disk(&daemon, &taken)), "it was made before");
    let ready = until_ready(&daemon, 2);
    assert!(!ready.contains(&disk(&daemon, &taken)), "another took its place");

    // Whoever clears the directory takes nothing from the creates to come.
    fs::remove_dir_all(daemon.state_dir().join("disks")).expect("removed");
    let others: Vec<String> = (0..3).map(|_| sleeper(&daemon)).collect();
    others.iter().for_each(|id| assert!(image_of(&daemon, id).exists(), "{id}"));
    let ready = until_ready(&daemon, 2);

    daemon.kill();
    until("without devices but those of sandboxes", || match loops(daemon.state_dir()) {
        four if four.len() == 4 => Ok(()),
        more => Err(format!("{more:?}")),
    });
    daemon.launch();
    let fresh = until_ready(&daemon, 2);
    assert!(fresh != ready, "files without a mount are of no use: {fresh:?}");
    for id in others.iter().chain([&taken]) {
        assert_eq!(daemon.sandbox(id).state(), "Running");
        daemon.sandbox(id).delete();
        daemon.sandbox(id).until_unknown();
    }
    daemon.stop();
    assert_eq!(fs::read_dir(daemon.state_dir().join("disks/ready")).expect("a directory").count(), 0);
    until("without a loop device", || match loops(daemon.state_dir()) {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    });
}

#[test]
fn a_bounded_disk_outlives_the_daemon_and_ends_with_its_sandbox() {
    let config = "[limits]\ndefault_disk = '16Mi'\nmax_disk = '32Mi'\n";
    let test = "a_bounded_disk_outlives_the_daemon_and_ends_with_its_sandbox";
    let Some(mut daemon) = Daemon::start_with(test, config) else { return };
    let script = "dd if=/dev/zero of=/file bs=1M count=10 2>/dev/null; echo written; sleep 1000000";
    let id = daemon.create_from(&bounded(&daemon, json!({}), script)).id;
    lines(&daemon.sandbox(&id), "written");
    let used = |daemon: &Daemon| daemon.sandbox(&id).stats()["disk"]["usedBytes"].as_u64().unwrap_or_default();
    let before = used(&daemon);
    assert!((10 << 20..11 << 20).contains(&before), "{before}");
    let large = daemon.client.post("/v1/sandboxes", &bounded(&daemon, json!({"disk": "33Mi"}), "true")).expect(400);
    assert!(large.text().contains("resourceLimits.disk is"), "{large}");
    daemon.kill();
    daemon.launch();
    assert_eq!(used(&daemon), before);
    daemon.sandbox(&id).delete();
    until_without_loops(&daemon);
}

#[test]
fn a_limit_of_files_alone_is_said_to_be_missing() {
    let Some(daemon) = Daemon::start("a_limit_of_files_alone_is_said_to_be_missing") else { return };
    let sandbox = daemon.create_from(&bounded(&daemon, json!({"inodes": "100"}), "sleep 1000000"));
    let status = sandbox.get()["status"].clone();
    assert!(
        status["message"].as_str().is_some_and(|text| text.contains("cannot enforce the inodes limit")),
        "{status}"
    );
    sandbox.delete();
}
