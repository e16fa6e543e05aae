//! The command line against a real daemon.

use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Daemon, IMAGE, until};

#[test]
fn run_ends_as_its_program_did() {
    let Some(daemon) = Daemon::start("run_ends_as_its_program_did") else { return };
    let before = daemon.settled();
    for (command, code) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 3"], 3),
        (vec!["sh", "-c", "kill -KILL $$"], 137),
        (vec!["no-such-program"], 127),
        (vec!["/bin/not-executable"], 126),
    ] {
        let output = daemon.cli(&[["run", "--rm", IMAGE, "--"].as_slice(), &command].concat());
        assert_eq!(output.status.code(), Some(code), "{command:?}: {}", stderr(&output));
    }
    let output = daemon.cli(&["run", "--rm", IMAGE, "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", "err\n"));
    let output = daemon.cli(&["run", "no/such:image", "--", "true"]);
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    until("empty", || {
        let left = stdout(&daemon.cli(&["list", "--json"]));
        if left.trim() == "[]" { Ok(()) } else { Err(left) }
    });
    daemon.check_left(&before);
}

#[test]
fn run_passes_signals_on() {
    let Some(daemon) = Daemon::start("run_passes_signals_on") else { return };
    let script = "trap 'exit 9' TERM; echo ready; while true; do sleep 0.01; done";
    let mut command = daemon.cli_command(&["run", IMAGE, "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the command line starts");
    let mut line = String::new();
    let output = child.stdout.take().expect("its output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), Signal::SIGTERM).expect("a child of ours");
    assert_eq!(child.wait().expect("a child of ours").code(), Some(9));
}

#[test]
fn a_life_by_commands() {
    let Some(daemon) = Daemon::start("a_life_by_commands") else { return };
    let ok = |arguments: &[&str]| {
        let output = daemon.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    let id = ok(&["create", IMAGE, "--name", "web", "--timeout", "30m", "--", "sh", "-c", "echo hello; sleep 1000"]);
    let id = id.trim();
    assert_eq!(id.len(), 36, "{id}");
    let state = |name: &str| -> String {
        let text = ok(&["get", name, "--json"]);
        let sandbox: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        sandbox["status"]["state"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!((state("web").as_str(), state(&id[..8]).as_str()), ("Running", "Running"));
    ok(&["pause", "web"]);
    assert_eq!(state("web"), "Paused");
    ok(&["resume", &id[..8]]);
    ok(&["renew", "web", "--for", "2h"]);
    assert!(ok(&["list"]).contains("web"));
    until("printed", || {
        let log = ok(&["logs", "web"]);
        if log == "hello\n" { Ok(()) } else { Err(log) }
    });
    ok(&["rm", "web"]);
    let output = daemon.cli(&["get", "nobody"]);
    assert!(!output.status.success() && stderr(&output).contains("nobody"));
}

#[test]
fn images_by_commands() {
    let Some(daemon) = Daemon::start("images_by_commands") else { return };
    let output = daemon.cli(&["image", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert!(list.to_string().contains(IMAGE), "{list}");
    assert!(daemon.cli(&["image", "inspect", IMAGE]).status.success());
    assert!(daemon.cli(&["image", "rm", IMAGE]).status.success());
    assert!(!daemon.cli(&["image", "rm", IMAGE]).status.success());
}

#[test]
fn tcp_without_a_key_is_a_usage_error() {
    let Some(mut daemon) = Daemon::start("tcp_without_a_key_is_a_usage_error") else { return };
    daemon.stop();
    let mut command = daemon.command();
    command.args(["--listen", "tcp:127.0.0.1:0"]).stderr(Stdio::piped()).env_remove("BIVOUAC_API_KEY");
    let output = command.output().expect("the daemon starts");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--insecure-no-auth"), "{}", stderr(&output));
}

#[test]
fn doctor_knows_this_host() {
    let Some(daemon) = Daemon::start("doctor_knows_this_host") else { return };
    let output = daemon.cli(&["doctor"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("cgroup"), "{}", stdout(&output));
    let state_dir = daemon.state_dir().display().to_string();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("[server]\nstate_dir = '{state_dir}'\n")).expect("written");
    for arguments in [["--state-dir", &state_dir], ["--config", &file.path().display().to_string()]] {
        let output = daemon.cli(&[["doctor"].as_slice(), &arguments].concat());
        assert!(stdout(&output).contains(&format!("{state_dir} is on ")), "{}", stdout(&output));
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
