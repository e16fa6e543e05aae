//! `bivouac cp` against a real daemon.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{Daemon, IMAGE, Sandbox, until};

/// A sandbox with the name `box`, and a directory of the host to copy to and from.
struct Place<'a> {
    daemon: &'a Daemon,
    sandbox: Sandbox<'a>,
    dir: PathBuf,
}

impl<'a> Place<'a> {
    fn of(daemon: &'a Daemon) -> Self {
        let arguments = ["create", IMAGE, "--name", "box", "--", "sleep", "1000000"];
        let made = daemon.cli(&arguments);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let sandbox = daemon.sandbox(String::from_utf8_lossy(&made.stdout).trim());
        let dir = daemon.path("host");
        fs::create_dir(&dir).expect("made");
        Self { daemon, sandbox, dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Copies; the exit code and what was said.
    fn cp(&self, from: &str, to: &str) -> (Option<i32>, String) {
        let mut command = self.daemon.cli_command(&["cp", from, to]);
        let output = command.current_dir(&self.dir).output().expect("the command line starts");
        assert!(output.stdout.is_empty(), "{output:?}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[track_caller]
    fn copies(&self, from: &str, to: &str) {
        let (code, said) = self.cp(from, to);
        assert_eq!((code, said.as_str()), (Some(0), ""), "cp {from} {to}");
    }

    #[track_caller]
    fn fails(&self, from: &str, to: &str, problem: &str) {
        let (code, said) = self.cp(from, to);
        assert!(code == Some(1) && said.contains(problem), "cp {from} {to}: {code:?}: {said}");
    }

    /// Runs a command inside that must succeed.
    #[track_caller]
    fn shell(&self, command: &str) {
        let answer = self.sandbox.post("proxy/44772/command", &json!({ "command": command })).expect(200).text();
        assert!(answer.contains("execution_complete"), "{command}: {answer}");
    }

    #[track_caller]
    fn holds(&self, name: &str, content: &str, mode: u32) {
        let path = self.at(name);
        assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some(content), "{name}");
        assert_eq!(mode_of(&path), mode, "{name}");
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o7777
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

#[test]
fn files_go_both_ways_with_their_modes() {
    let Some(daemon) = Daemon::start("files_go_both_ways_with_their_modes") else { return };
    let place = Place::of(&daemon);
    write(&place.at("one"), "content", 0o751);
    write(&place.at("a:$HOME $x"), "odd", 0o600);
    place.copies("one", "box:/tmp/two");
    place.copies("one", "box:tmp");
    place.copies("./a:$HOME $x", "box:/tmp/");
    place.shell("cd /tmp && busybox cmp one two && test `busybox stat -c %a one` = 751");
    place.shell("test \"`cat '/tmp/a:$HOME $x'`\" = odd && test `busybox stat -c %a /tmp/a*` = 600");
    let short = &place.sandbox.id[..8];
    place.copies(&format!("{short}:/tmp/two"), "new");
    place.holds("new", "content", 0o751);
    fs::create_dir(place.at("dir")).expect("made");
    place.copies("box:/tmp/one", "dir");
    place.copies("box:/tmp/a:$HOME $x", "dir/");
    place.holds("dir/one", "content", 0o751);
    place.holds("dir/a:$HOME $x", "odd", 0o600);
    // What is there is replaced, a link by what it leads to; what raises privileges is not taken from a sandbox.
    place.shell("echo -n raised > /tmp/two && chmod 4755 /tmp/two");
    symlink("dir/one", place.at("link")).expect("a link");
    place.copies("box:/tmp/two", "link");
    place.holds("dir/one", "raised", 0o755);
    assert!(fs::symlink_metadata(place.at("link")).expect("there").is_symlink());
    place.sandbox.delete();
}

#[test]
fn directories_go_as_a_child_as_a_new_name_or_by_content() {
    let Some(daemon) = Daemon::start("directories_go_as_a_child_as_a_new_name_or_by_content") else { return };
    let place = Place::of(&daemon);
    write(&place.at("src/a"), "a", 0o640);
    write(&place.at("src/deep/er/b"), "b", 0o400);
    fs::create_dir(place.at("src/empty")).expect("made");
    symlink("../a", place.at("src/deep/link")).expect("a link");
    symlink("/etc", place.at("src/etc")).expect("a link");
    for (dir, mode) in [("src/deep", 0o710), ("src/empty", 0o555)] {
        fs::set_permissions(place.at(dir), fs::Permissions::from_mode(mode)).expect("set");
    }
    place.shell("mkdir /tmp/there /tmp/content");
    place.copies("src", "box:/tmp/there");
    place.copies("src", "box:/tmp/new");
    place.copies("src/.", "box:/tmp/content");
    place.shell("cd /tmp && ls there/src/deep/er/b new/deep/er/b content/deep/er/b && test ! -e content/src");
    let modes =
        "cd /tmp/new && test \"`busybox stat -c %a a deep deep/er/b empty | busybox xargs`\" = '640 710 400 555'";
    place.shell(modes);
    place.shell("cd /tmp/new && test `busybox readlink etc` = /etc && test `busybox readlink deep/link` = ../a");
    fs::create_dir(place.at("there")).expect("made");
    fs::create_dir(place.at("content")).expect("made");
    place.copies("box:/tmp/new", "there");
    place.copies("box:/tmp/new/", "other");
    place.copies("box:/tmp/new/.", "content/");
    for root in ["there/new", "other", "content"] {
        place.holds(&format!("{root}/a"), "a", 0o640);
        place.holds(&format!("{root}/deep/er/b"), "b", 0o400);
        assert_eq!(mode_of(&place.at(root).join("deep")), 0o710, "{root}");
        assert_eq!(mode_of(&place.at(root).join("empty")), 0o555, "{root}");
        assert_eq!(fs::read_link(place.at(root).join("etc")).ok(), Some(PathBuf::from("/etc")), "{root}");
    }
    // Links that are named: themselves, or where they lead.
    place.shell("busybox ln -s new /tmp/link");
    place.copies("box:/tmp/link", "copied");
    assert_eq!(fs::read_link(place.at("copied")).ok(), Some(PathBuf::from("new")));
    place.copies("box:/tmp/link/.", "led");
    place.holds("led/a", "a", 0o640);
    place.copies("src/a", "box:/tmp/link");
    place.shell("test -f /tmp/new/a && test ! -f /tmp/link");
    place.sandbox.delete();
}

#[test]
fn archives_go_both_ways() {
    let Some(daemon) = Daemon::start("archives_go_both_ways") else { return };
    let place = Place::of(&daemon);
    write(&place.at("src/a"), "a", 0o640);
    write(&place.at("src/deep/er/b"), &"b".repeat(100_000), 0o400);
    write(&place.at(&format!("src/{}", "n".repeat(120))), "long", 0o644);
    fs::create_dir(place.at("src/empty")).expect("made");
    fs::set_permissions(place.at("src/empty"), fs::Permissions::from_mode(0o555)).expect("set");
    symlink("../a", place.at("src/deep/link")).expect("a link");
    let pipe = |line: &str| {
        let mut command = std::process::Command::new("sh");
        let cli = daemon.cli_command(&[]);
        command.args(["-c", line]).env("CLI", cli.get_program()).env("BIVOUAC_HOST", daemon.address());
        let output = command.current_dir(&place.dir).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    place.shell("mkdir /tmp/to");
    assert_eq!(pipe("tar -C src -c . | \"$CLI\" cp - box:/tmp/to"), (Some(0), String::new()));
    place.shell("cd /tmp/to && test `busybox stat -c %a a` = 640 && test `busybox stat -c %a deep/er/b` = 400");
    place.shell("cd /tmp/to && test `busybox stat -c %a empty` = 555 && test `busybox readlink deep/link` = ../a");
    assert_eq!(pipe("mkdir back && \"$CLI\" cp box:/tmp/to - | tar -C back -xp"), (Some(0), String::new()));
    assert_eq!(pipe("\"$CLI\" cp box:/tmp/to/. - | tar -C back -xp").0, Some(0));
    assert_eq!(pipe("diff -r src back/to; diff -r src/deep back/deep"), (Some(0), String::new()));
    place.holds("back/to/a", "a", 0o640);
    assert_eq!(mode_of(&place.at("back/to/empty")), 0o555);
    assert_eq!(pipe("\"$CLI\" cp box:/tmp/to/a - | tar -xO"), (Some(0), String::new()));
    for (line, problem) in [
        ("echo nonsense | \"$CLI\" cp - box:/tmp/to", "archive"),
        ("tar -c src | \"$CLI\" cp - box:/tmp/gone", "/tmp/gone"),
        ("tar -c src | \"$CLI\" cp - box:/tmp/to/a", "no directory"),
        ("\"$CLI\" cp box:/tmp/gone - > gone.tar", "/tmp/gone"),
        ("\"$CLI\" cp - -", "neither"),
    ] {
        let (code, said) = pipe(line);
        assert!(code == Some(1) && said.contains(problem), "{line}: {code:?} {said}");
    }
    place.sandbox.delete();
}

#[test]
fn what_cannot_be_copied_is_told() {
    let Some(daemon) = Daemon::start("what_cannot_be_copied_is_told") else { return };
    let place = Place::of(&daemon);
    write(&place.at("file"), "f", 0o644);
    write(&place.at("dir/in"), "in", 0o644);
    place.shell("mkdir -p /tmp/dir && echo x > /tmp/file && echo y > /tmp/dir/in && busybox mkfifo /tmp/dir/pipe");
    place.fails("gone", "box:/tmp", "gone");
    place.fails("box:/tmp/gone", ".", "/tmp/gone");
    place.fails("dir", "box:/tmp/file", "directory");
    place.fails("box:/tmp/dir", "file", "directory");
    place.fails("file", "box:/tmp/gone/", "/tmp/gone");
    place.fails("file", "box:/tmp/gone/name", "/tmp/gone/name");
    place.fails("box:/tmp/file", "gone/name", "gone");
    place.fails("box:/tmp/file", "gone/", "gone/");
    place.fails("box:/tmp/file/", ".", "no directory");
    place.fails("file/", "box:/tmp", "Not a directory");
    place.fails("file", "dir", "neither");
    place.fails("box:/a", "box:/b", "both");
    place.fails("file", "nobody:/tmp", "nobody");
    place.fails("box:/dev/zero", "zero", "/dev/zero");
    assert_eq!(place.cp("file", "box:").0, Some(2));
    // The others are copied.
    nix::unistd::mkfifo(&place.at("dir/pipe"), Mode::S_IRWXU).expect("a pipe");
    place.fails("dir", "box:/tmp/up", "dir/pipe");
    place.shell("test `cat /tmp/up/in` = in && test ! -e /tmp/up/pipe");
    place.fails("box:/tmp/dir", "down", "/tmp/dir/pipe");
    place.holds("down/in", "y\n", 0o644);
    let names: Vec<_> =
        fs::read_dir(place.at("down")).expect("read").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["in"], "nothing else is left");
    place.sandbox.call("pause").expect(202);
    place.fails("file", "box:/tmp/", "Paused");
    place.sandbox.delete();
}

#[test]
fn links_of_the_host_are_not_followed_out_of_the_target() {
    let Some(daemon) = Daemon::start("links_of_the_host_are_not_followed_out_of_the_target") else { return };
    let place = Place::of(&daemon);
    write(&place.at("canary"), "alive", 0o644);
    fs::create_dir(place.at("outside")).expect("made");
    fs::create_dir_all(place.at("to/src")).expect("made");
    symlink(place.at("outside"), place.at("to/src/sub")).expect("a link");
    symlink("../../canary", place.at("to/src/file")).expect("a link");
    place.shell(
        "mkdir -p /tmp/src/sub && echo evil > /tmp/src/sub/file && echo evil > /tmp/src/file && echo x > /tmp/src/z",
    );
    place.fails("box:/tmp/src", "to", "to/src/sub");
    place.holds("canary", "alive", 0o644);
    assert_eq!(fs::read_dir(place.at("outside")).expect("read").count(), 0);
    place.holds("to/src/file", "evil\n", 0o644);
    place.holds("to/src/z", "x\n", 0o644);
    // A link that came first does not lead what comes next.
    place.shell("busybox rm -r /tmp/src && mkdir /tmp/src && busybox ln -s ../outside /tmp/src/way");
    place.copies("box:/tmp/src/.", "to");
    place.shell("busybox rm /tmp/src/way && mkdir /tmp/src/way && echo evil > /tmp/src/way/file");
    place.fails("box:/tmp/src/.", "to", "to/way");
    assert_eq!(fs::read_dir(place.at("outside")).expect("read").count(), 0);
    place.sandbox.delete();
}

#[test]
fn a_copy_that_is_interrupted_leaves_nothing() {
    let Some(daemon) = Daemon::start("a_copy_that_is_interrupted_leaves_nothing") else { return };
    let place = Place::of(&daemon);
    fs::create_dir(place.at("to")).expect("made");
    place.shell("busybox truncate -s 20G /tmp/endless");
    let mut child =
        daemon.cli_command(&["cp", "box:/tmp/endless", "to"]).current_dir(&place.dir).spawn().expect("started");
    let count = || fs::read_dir(place.at("to")).expect("read").count();
    until("begun", || if count() == 1 { Ok(()) } else { Err("nothing is there".to_owned()) });
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGINT).expect("a child of ours");
    assert_eq!(child.wait().expect("a child of ours").code(), Some(1));
    assert_eq!(count(), 0);
    place.sandbox.delete();
}

#[test]
fn a_large_file_is_not_held_in_memory() {
    let Some(daemon) = Daemon::start("a_large_file_is_not_held_in_memory") else { return };
    let place = Place::of(&daemon);
    place.shell("head -c 300000000 /dev/zero > /tmp/large && echo end >> /tmp/large");
    // Far less address space than the file, and enough for the program and its threads.
    let limited = |from: &str, to: &str| {
        let cli = daemon.cli_command(&["cp", from, to]);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -v 200000; exec \"$0\" \"$@\""]).arg(cli.get_program()).args(cli.get_args());
        command.env("BIVOUAC_HOST", daemon.address()).current_dir(&place.dir);
        let output = command.output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    limited("box:/tmp/large", "large");
    assert_eq!(fs::metadata(place.at("large")).expect("there").len(), 300_000_004);
    limited("large", "box:/tmp/again");
    place.shell("busybox cmp /tmp/large /tmp/again");
    place.sandbox.delete();
}
