//! `bivouac exec`, and `bivouac run` with a terminal, against a real daemon.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Daemon, IMAGE, until};

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

#[test]
fn exec_ends_as_its_program_did() {
    let Some(daemon) = Daemon::start("exec_ends_as_its_program_did") else { return };
    let sandbox = daemon.sleeper();
    let id = sandbox.id.as_str();
    let exec = |options: &[&str], command: &[&str]| {
        told(&daemon.cli(&[&["exec", &id[..8]], options, &["--"], command].concat()))
    };
    for (command, code) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 3"], 3),
        (vec!["sh", "-c", "kill -KILL $$"], 137),
        (vec!["no-such-program"], 127),
        (vec!["/etc/passwd"], 126),
    ] {
        let (got, _, err) = exec(&[], &command);
        assert_eq!(got, Some(code), "{command:?}: {err}");
    }
    assert_eq!(told(&daemon.cli(&["exec", "nobody", "--", "true"])).0, Some(125));
    assert_eq!(exec(&[], &["sh", "-c", r#"printf "%s|" "$@""#, "sh", "a  b", "$HOME", "", "-n"]).1, "a  b|$HOME||-n|");
    let (code, out, err) = exec(&[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "out\n", "err\n"));
    assert_eq!(exec(&[], &["cat"]).1, "", "without -i there is nothing to read");
    let options = ["-e", "A=b=c", "-w", "/tmp", "-u", "1234:77"];
    assert_eq!(exec(&options, &["sh", "-c", "echo $A; pwd; id -u; id -g"]).1, "b=c\n/tmp\n1234\n77\n");
    assert_eq!(exec(&["-t"], &["sh", "-c", "tty >/dev/null && echo yes"]).1, "yes\r\n");
    let (code, _, err) = exec(&["-it"], &["sh"]);
    assert_eq!((code, err.contains("leave -t out")), (Some(125), true), "{err}");
    sandbox.call("pause").expect(202);
    let (code, _, err) = exec(&[], &["true"]);
    assert_eq!((code, err.contains("Paused")), (Some(125), true), "{err}");
}

/// Bytes of every value, many more than pipes and sockets hold.
fn many_bytes() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn input_and_output_are_passed_byte_by_byte() {
    let Some(daemon) = Daemon::start("input_and_output_are_passed_byte_by_byte") else { return };
    let sandbox = daemon.sleeper();
    let mut command = daemon.cli_command(&["exec", "-i", &sandbox.id, "--", "sh", "-c", "cat; echo end >&2; exit 4"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command line starts");
    let mut stdin = child.stdin.take().expect("its input");
    let writer = std::thread::spawn(move || stdin.write_all(&many_bytes()).expect("all is taken"));
    let output = child.wait_with_output().expect("its end");
    writer.join().expect("written");
    assert!(output.stdout == many_bytes(), "{} bytes", output.stdout.len());
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(4), b"end\n".as_slice()));
}

#[test]
fn signals_reach_a_program_that_does_not_read() {
    let Some(mut daemon) = Daemon::start("signals_reach_a_program_that_does_not_read") else { return };
    let id = daemon.sleeper().id;
    let script = "trap 'exit 9' TERM; trap 'wc -c' INT; echo ready; while true; do sleep 0.01; done";
    let start = |daemon: &Daemon| {
        let mut command = daemon.cli_command(&["exec", "-i", &id, "--", "sh", "-c", script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command line starts");
        let mut ready = [0; 6];
        child.stdout.as_mut().expect("its output").read_exact(&mut ready).expect("it is ready");
        // More than all on the way would hold.
        let mut stdin = child.stdin.take().expect("its input");
        let writer = std::thread::spawn(move || stdin.write_all(&[b'x'; 5_000_000]).is_ok());
        (child, writer)
    };
    let (mut child, writer) = start(&daemon);
    kill(pid(&child), Signal::SIGTERM).expect("a child of ours");
    assert_eq!(child.wait().expect("its end").code(), Some(9));
    drop(writer.join());

    // What a daemon had not passed on the next one gets; what it had only just passed on comes again.
    let (mut child, writer) = start(&daemon);
    daemon.kill();
    daemon.launch();
    kill(pid(&child), Signal::SIGINT).expect("a child of ours");
    let mut counted = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("its output"));
    std::io::BufRead::read_line(&mut stdout, &mut counted).expect("a line");
    let counted: usize = counted.trim().parse().expect("a number");
    assert!((5_000_000..=5_000_000 + (64 << 10)).contains(&counted), "{counted}");
    assert!(writer.join().expect("written"));
    kill(pid(&child), Signal::SIGTERM).expect("a child of ours");
    assert_eq!(child.wait().expect("its end").code(), Some(9));
}

#[test]
fn signals_reach_the_program_and_a_restart_is_sat_out() {
    let Some(mut daemon) = Daemon::start("signals_reach_the_program_and_a_restart_is_sat_out") else { return };
    let id = daemon.sleeper().id;
    let script = "trap 'echo term; exit 9' TERM; i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; \
                  while true; do sleep 0.01; done";
    let mut command = daemon.cli_command(&["exec", &id, "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the command line starts");
    let mut stdout = child.stdout.take().expect("its output");
    let mut first = [0; 2000];
    stdout.read_exact(&mut first).expect("the first lines");
    daemon.kill();
    daemon.launch();
    let mut seen = first.to_vec();
    while !seen.ends_with(b"\n2999\n") {
        let mut chunk = [0; 4096];
        let read = stdout.read(&mut chunk).expect("more");
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..read]);
    }
    let expected: String = (0..3000).map(|number| format!("{number}\n")).collect();
    assert!(seen == expected.as_bytes(), "{}", String::from_utf8_lossy(&seen));
    daemon.stop();
    daemon.launch();
    kill(pid(&child), Signal::SIGTERM).expect("a child of ours");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("the rest");
    assert_eq!((rest.as_str(), child.wait().expect("its end").code()), ("term\n", Some(9)));
}

/// A command line on a terminal of its own.
struct OnTerminal {
    child: Child,
    master: File,
    slave: OwnedFd,
    came: Receiver<Vec<u8>>,
    seen: String,
}

impl OnTerminal {
    fn start(mut command: Command) -> Self {
        let terminal = openpty(None, None).expect("a terminal");
        bivouac::sys::set_window_size(terminal.master.as_fd(), 101, 51).expect("resized");
        let stdio = || Stdio::from(terminal.slave.try_clone().expect("a copy"));
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let child = command.spawn().expect("the command line starts");
        let master = File::from(terminal.master);
        let mut reader = master.try_clone().expect("a copy");
        let (sender, came) = channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, slave: terminal.slave, came, seen: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("typed");
    }

    #[track_caller]
    fn until_shown(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let came = self.came.recv_timeout(Duration::from_secs(20));
            let came = came.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&came));
        }
    }
}

#[test]
fn run_with_a_terminal_is_a_shell_right_here() {
    let Some(daemon) = Daemon::start("run_with_a_terminal_is_a_shell_right_here") else { return };
    let before = daemon.settled();
    let mut here = OnTerminal::start(daemon.cli_command(&["run", "-it", "--rm", "-w", "/tmp", IMAGE, "--", "sh"]));
    let modes = tcgetattr(&here.slave).expect("its modes");
    here.type_in("stty size; pwd\r");
    here.until_shown("51 101\r\n/tmp\r\n");
    bivouac::sys::set_window_size(here.master.as_fd(), 66, 33).expect("resized");
    kill(pid(&here.child), Signal::SIGWINCH).expect("a child of ours");
    // The window is told beside what is typed.
    until("resized", || {
        here.seen.clear();
        here.type_in("echo size $(stty size).\r");
        here.until_shown(".\r\n");
        if here.seen.contains("size 33 66.") { Ok(()) } else { Err(here.seen.clone()) }
    });
    here.type_in("sh -c 'echo st\"\"arted; exec sleep 1000000'\r");
    here.until_shown("started");
    here.type_in("\u{3}");
    here.type_in("echo code $?\r");
    here.until_shown("code 130");
    here.type_in("exit 7\r");
    assert_eq!(here.child.wait().expect("its end").code(), Some(7), "{}", here.seen);
    let after = tcgetattr(&here.slave).expect("its modes");
    assert_eq!((after.local_flags, after.input_flags), (modes.local_flags, modes.input_flags), "as it was");
    daemon.check_left(&before);
}

fn state(daemon: &Daemon, name: &str) -> Value {
    let (_, text, err) = told(&daemon.cli(&["get", name, "--json"]));
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} {err}"))
}

#[test]
fn run_with_input_reads_ours() {
    let Some(daemon) = Daemon::start("run_with_input_reads_ours") else { return };
    let script = "wc -c; pwd; echo err >&2; exit 2";
    let mut command =
        daemon.cli_command(&["run", "-i", "--name", "counted", "-w", "/new/dir", IMAGE, "--", "sh", "-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command line starts");
    child.stdin.take().expect("its input").write_all(&[0; 12_345]).expect("written");
    let ended = told(&child.wait_with_output().expect("its end"));
    assert_eq!(ended, (Some(2), "12345\n/new/dir\n".to_owned(), "err\n".to_owned()));
    // It was the sandbox's own program, and what it wrote is in the log.
    let counted = state(&daemon, "counted");
    let status = &counted["status"];
    assert_eq!(
        (&status["state"], &status["reason"], &status["exitCode"]),
        (&json!("Failed"), &json!("entrypoint_exited"), &json!(2))
    );
    assert_eq!(counted["entrypoint"], json!(["sh", "-c", script]));
    assert_eq!(told(&daemon.cli(&["logs", "counted"])).1, "12345\n/new/dir\n");
    // Who comes after that sees the same.
    assert_eq!(
        told(&daemon.cli(&["attach", "counted"])),
        (Some(2), "12345\n/new/dir\n".to_owned(), "err\n".to_owned())
    );
    for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        let (got, _, err) = told(&daemon.cli(&["run", "-i", "--rm", IMAGE, "--", program]));
        assert_eq!((got, err.contains(program)), (Some(code), true), "{err}");
    }
    assert_eq!(told(&daemon.cli(&["run", "--rm", "-w", "/tmp", IMAGE, "--", "sh", "-c", "pwd"])).1, "/tmp\n");
}

#[test]
fn a_program_that_takes_no_input_can_be_watched() {
    let Some(mut daemon) = Daemon::start("a_program_that_takes_no_input_can_be_watched") else { return };
    let script = "echo begun; until [ -e /tmp/go ]; do sleep 0.01; done; echo over; exit 3";
    let id = daemon.create(&["sh", "-c", script]).id;
    // Also for a daemon that comes later.
    daemon.kill();
    daemon.launch();
    let mut command = daemon.cli_command(&["attach", &id]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // Its own end may be that of the sandbox.
    daemon.cli(&["exec", &id, "--", "touch", "/tmp/go"]);
    let (code, out, err) = told(&child.wait_with_output().expect("its end"));
    assert_eq!((code, out.as_str()), (Some(3), "begun\nover\n"), "{err}");
}

#[test]
fn who_detaches_leaves_it_running_and_can_come_back() {
    let Some(mut daemon) = Daemon::start("who_detaches_leaves_it_running") else { return };
    let mut here = OnTerminal::start(daemon.cli_command(&["run", "-it", "--name", "shell", IMAGE, "--", "sh"]));
    here.type_in("X=ke\"\"pt; echo be\"\"gun; tty; echo $TERM\r");
    here.until_shown("begun\r\n/dev/pts/0\r\nxterm\r\n");
    let (code, _, err) = told(&daemon.cli(&["attach", "shell"]));
    assert_eq!((code, err.contains("Another client")), (Some(125), true), "{err}");
    here.type_in("\u{10}\u{11}");
    here.until_shown("detached");
    assert_eq!(here.child.wait().expect("its end").code(), Some(0), "{}", here.seen);
    assert_eq!(state(&daemon, "shell")["status"]["state"], "Running");
    assert!(told(&daemon.cli(&["logs", "shell"])).1.contains("begun\r\n"));
    // Neither is a killed daemon its end.
    daemon.kill();
    daemon.launch();
    let mut again = OnTerminal::start(daemon.cli_command(&["attach", "shell"]));
    again.until_shown("begun\r\n");
    again.type_in("echo $X. $(stty size)\r");
    again.until_shown("kept. 51 101\r\n");
    again.type_in("exit 7\r");
    assert_eq!(again.child.wait().expect("its end").code(), Some(7), "{}", again.seen);
    let status = state(&daemon, "shell")["status"].clone();
    assert_eq!((&status["state"], &status["exitCode"]), (&json!("Failed"), &json!(7)));
}

#[test]
fn the_program_waits_for_who_is_attached_and_loses_nothing() {
    let Some(mut daemon) = Daemon::start("the_program_waits_for_who_is_attached") else { return };
    // More than a log keeps.
    let size = 40_000_000;
    let script = format!("cat; head -c {size} /dev/zero; echo end");
    let mut command = daemon.cli_command(&["run", "-i", "--rm", "--name", "much", IMAGE, "--", "sh", "-c", &script]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command line starts");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
    stdin.write_all(b"one").expect("written");
    let mut heard = [0; 3];
    stdout.read_exact(&mut heard).expect("the echo");
    daemon.kill();
    daemon.launch();
    stdin.write_all(b"two").expect("written");
    stdout.read_exact(&mut heard).expect("the echo");
    assert_eq!(&heard, b"two", "not the first again");
    drop(stdin);
    let id = state(&daemon, "much")["id"].as_str().expect("an id").to_owned();
    let logged = || {
        let dir = daemon.state_dir().join("sandboxes").join(&id);
        let length = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |about| about.len());
        length("log.0") + length("log.1")
    };
    let mut before = 0;
    until("it waits", || {
        let now = logged();
        if std::mem::replace(&mut before, now) == now && now > 100_000 { Ok(()) } else { Err(now.to_string()) }
    });
    assert!(before < 8 << 20, "{before}");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("all of it");
    assert_eq!((rest.len(), rest.ends_with(b"\0end\n")), (size + 4, true));
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}
