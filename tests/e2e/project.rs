//! Where the file system of the state directory bounds projects, a disk is one: it holds what a file system of its own would, no
//! device is needed for it, and nothing of it outlives its sandbox.

use std::fs::File;
use std::os::fd::AsFd;

use bivouac::sys::{self, Quota};
use serde_json::json;

use crate::disk::{FILL, bounded, check_filled, check_told_when_full, lines, loops_of_sandboxes, until_without_loops};
use crate::harness::{Daemon, Kind, Sandbox, until};

/// Projects with anything of their own. Number 0 is what is of none.
fn projects(daemon: &Daemon) -> Vec<(u32, Quota)> {
    let fs = File::open(daemon.state_dir()).expect("opened");
    let next = |from: u32| sys::next_project_quota(fs.as_fd(), from).expect("told");
    let all = std::iter::successors(next(1), |(id, _)| next(id + 1));
    all.filter(|(_, quota)| *quota != Quota::default()).collect()
}

fn until_without_projects(daemon: &Daemon) {
    until("without a project", || match projects(daemon) {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    });
}

fn used_bytes(sandbox: &Sandbox<'_>) -> u64 {
    sandbox.stats()["disk"]["usedBytes"].as_u64().unwrap_or_default()
}

/// Runs a command inside and returns what the exec API tells of it.
fn shell(sandbox: &Sandbox<'_>, command: &str) -> String {
    sandbox.post("proxy/44772/command", &json!({ "command": command })).expect(200).text()
}

fn holds_what_was_promised(test: &str, kind: Kind) {
    let Some(daemon) = Daemon::start_on(test, kind, "") else { return };
    let before = daemon.settled();
    assert_eq!(projects(&daemon), []);
    let sandbox = daemon.create_from(&bounded(&daemon, json!({"disk": "24Mi", "inodes": "200"}), FILL));
    assert_eq!(sandbox.state(), "Running", "{}", sandbox.get());
    let script = "dd if=/dev/zero of=/file bs=1M count=40 2>/dev/null; echo code $?; sleep 1000000";
    let neighbours = [json!({}), json!({"disk": "50Mi"})];
    let neighbours = neighbours.map(|limits| daemon.create_from(&bounded(&daemon, limits, script)));
    check_filled(&sandbox);
    neighbours.iter().for_each(|neighbour| assert_eq!(lines(neighbour, "code 0"), ["code 0"]));
    check_told_when_full(&daemon);
    assert!(loops_of_sandboxes(&daemon).is_empty());
    let (both, inspected) = (projects(&daemon), inspect(&daemon, &sandbox));
    assert!(both.len() == 2 && inspected.contains(&format!("project {} of", both[0].0)), "{both:?}\n{inspected}");
    neighbours.iter().for_each(Sandbox::delete);
    sandbox.delete();
    until_without_projects(&daemon);
    for id in neighbours.iter().chain([&sandbox]).map(|gone| &gone.id) {
        daemon.sandbox(id).until_unknown();
    }
    daemon.check_left(&before);
}

#[test]
fn r3_a_project_of_ext4_holds_what_was_promised() {
    holds_what_was_promised("r3_a_project_of_ext4_holds_what_was_promised", Kind::Ext4);
}

#[test]
fn r3_a_project_of_xfs_holds_what_was_promised() {
    holds_what_was_promised("r3_a_project_of_xfs_holds_what_was_promised", Kind::Xfs);
}

fn inspect(daemon: &Daemon, sandbox: &Sandbox<'_>) -> String {
    daemon.client.get(&sandbox.path("diagnostics/inspect")).expect(200).text()
}

#[test]
fn a_project_outlives_the_daemon_and_cannot_be_left() {
    let test = "a_project_outlives_the_daemon_and_cannot_be_left";
    let Some(mut daemon) = Daemon::start_on(test, Kind::Ext4, "[limits]\ndefault_disk = '16Mi'\n") else { return };
    let script = "dd if=/dev/zero of=/file bs=1M count=10 2>/dev/null; echo written; sleep 1000000";
    let id = daemon.create(&["sh", "-c", script]).id;
    lines(&daemon.sandbox(&id), "written");
    let (before, own) = (used_bytes(&daemon.sandbox(&id)), projects(&daemon)[0]);
    assert!((10 << 20..11 << 20).contains(&before), "{before}");
    daemon.kill();
    // As of a sandbox whose directory somebody has removed.
    let stale = own.0 + 1000;
    let fs = File::open(daemon.state_dir()).expect("opened");
    sys::limit_project(fs.as_fd(), stale, 1000, 1000).expect("limited");
    daemon.launch();
    assert_eq!(projects(&daemon), [own], "and nothing else");
    let sandbox = daemon.sandbox(&id);
    assert_eq!(used_bytes(&sandbox), before);
    // Root inside owns the files, those of the image too, which an overlay copies when they are changed.
    for at in ["/file", "/", "/usr", "/home"] {
        for change in ["-p 0", "-P", "+d"] {
            let told = shell(&sandbox, &format!("busybox chattr {change} {at} && echo changed"));
            assert!(!told.contains("changed"), "chattr {change} {at}: {told}");
        }
    }
    let fill =
        "rm /file; for at in /usr /home; do mkdir -p $at/dir; dd if=/dev/zero of=$at/dir/more bs=64k; done; echo full";
    let told = shell(&sandbox, fill);
    let most = used_bytes(&sandbox);
    assert!((15 << 20..17 << 20).contains(&most), "{most}: {told}");
    sandbox.delete();
    until_without_projects(&daemon);

    // Where an operator has bounded all sandboxes together, none leaves that project for one of its own.
    daemon.stop();
    let sandboxes = File::open(daemon.state_dir().join("sandboxes")).expect("opened");
    sys::set_project(sandboxes.as_fd(), 77).expect("of a project");
    daemon.launch();
    let within = daemon.sleeper();
    assert_eq!(loops_of_sandboxes(&daemon).len(), 1);
    within.delete();
    until_without_loops(&daemon);
}

#[test]
fn a_limit_of_files_alone_holds() {
    let Some(daemon) = Daemon::start_on("a_limit_of_files_alone_holds", Kind::Xfs, "") else { return };
    let script = "dd if=/dev/zero of=/file bs=1M count=40 2>/dev/null; echo code $?; \
                  i=0; while true > /many.$i; do i=$((i+1)); done 2>/dev/null; echo $i; echo done; sleep 1000000";
    let sandbox = daemon.create_from(&bounded(&daemon, json!({"inodes": "100"}), script));
    let told = lines(&sandbox, "done");
    let made: u64 = told.get(1).and_then(|line| line.parse().ok()).unwrap_or_default();
    assert!(told[0] == "code 0" && (99..=101).contains(&made), "{told:?}");
    assert_eq!(sandbox.stats()["disk"]["usedInodes"], made + 1);
    let status = sandbox.get()["status"].clone();
    assert!(!status["message"].to_string().contains("cannot enforce"), "{status}");
    let state_dir = daemon.state_dir().display().to_string();
    let doctor = daemon.cli(&["doctor", "--state-dir", &state_dir]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains(&format!("project quotas of the file system of {state_dir}")), "{doctor}");
}
