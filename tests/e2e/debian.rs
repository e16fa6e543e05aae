//! A real image: a Debian root with python3 and git, with a user, a directory, variables and a command of its own.

use crate::harness::{DEBIAN, Daemon, until};

#[test]
fn a_debian_does_its_work() {
    let Some(daemon) = Daemon::start("a_debian_does_its_work") else { return };
    let before = daemon.settled();
    daemon.import_debian();

    // Entrypoint and Cmd of the image.
    assert_eq!(run(&daemon, &[]), "hello\n");
    // User, group, directory and variables of the image.
    let facts = "import os; print(os.getuid(), os.getgid(), os.getcwd(), os.environ['FROM'], os.environ['HOME'])";
    assert_eq!(run(&daemon, &["python3", "-c", facts]), "5 60 /srv/made image /usr/games\n");
    let commit = "cd /tmp && git init -q x && cd x && git -c user.name=a -c user.email=b commit -q --allow-empty -m c && \
                  git log --format=%s";
    assert_eq!(run(&daemon, &["sh", "-c", commit]), "c\n");
    // The bit is there, and does nothing.
    assert_eq!(run(&daemon, &["stat", "-c", "%a %U", "/usr/bin/passwd"]), "4755 root\n");
    check_rights(&run(&daemon, &["cat", "/proc/self/status"]));

    // `run --rm` is over when the last sandbox is being removed.
    until("removed", || {
        let removed = daemon.cli(&["image", "rm", DEBIAN]);
        if removed.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&removed.stderr).into_owned()) }
    });
    daemon.check_left(&before);
}

fn run(daemon: &Daemon, command: &[&str]) -> String {
    let mut arguments = vec!["run", "--rm", DEBIAN];
    if !command.is_empty() {
        arguments.push("--");
        arguments.extend(command);
    }
    let output = daemon.cli(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A user other than root starts with no capability, and can get none.
fn check_rights(status: &str) {
    for (name, value) in [
        ("Uid", "5 5 5 5"),
        ("Gid", "60 60 60 60"),
        ("Groups", "60"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("SigIgn", "0000000000000000"),
    ] {
        let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let found = found.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(found.as_deref(), Some(value), "{name}");
    }
}
