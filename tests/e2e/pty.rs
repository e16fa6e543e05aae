//! Terminals and pipes of the exec API, over WebSockets.

use std::fs;

use serde_json::json;

use crate::harness::{DEBIAN, Daemon, Sandbox, until};

const GONE: &str = "SESSION_GONE";

fn status(daemon: &Daemon, sandbox: &Sandbox<'_>, session: &str) -> serde_json::Value {
    daemon.client.get(&sandbox.path(&format!("proxy/44772/pty/{session}"))).expect(200).json()
}

#[test]
fn a_shell_has_a_terminal_that_outlives_its_clients() {
    let Some(daemon) = Daemon::start("a_shell_has_a_terminal_that_outlives_its_clients") else { return };
    let sandbox = daemon.sleeper();
    let session = sandbox.open_pty(&json!({"cwd": "/tmp"}));
    assert_eq!(status(&daemon, &sandbox, &session)["running"], false);
    let mut client = daemon.attach(&sandbox, &session, "");
    client.until("connected", |client| !client.said.is_empty());
    assert_eq!(client.said[0], json!({"type": "connected", "session_id": session, "mode": "pty"}));
    client.type_in(b"stty size; pwd; tty; V=kept\n");
    client.until_shown("24 80\r\n/tmp\r\n/dev/pts/0\r\n");
    client.resize(132, 43);
    client.type_in(b"stty size\n");
    client.until_shown("43 132\r\n");
    client.say(&json!({"type": "ping"}));
    client.until("a pong", |client| client.said.contains(&json!({"type": "pong"})));
    for (said, code) in [
        (json!({"type": "resize", "cols": 0, "rows": 1}), "INVALID_FRAME"),
        (json!({"type": "signal", "signal": "SIGSTOP"}), "INVALID_FRAME"),
        (json!({"type": "eof"}), "INVALID_FRAME"),
        (json!({"type": "what"}), "INVALID_FRAME"),
        (json!([]), "INVALID_FRAME"),
    ] {
        client.said.clear();
        client.say(&said);
        client.until("an error", |client| !client.said.is_empty());
        assert_eq!((&client.said[0]["type"], &client.said[0]["code"]), (&json!("error"), &json!(code)), "{said}");
    }
    drop(client);
    let mut client = until("free", || daemon.try_attach(&sandbox, &session, "").map_err(|status| status.to_string()));
    client.say(&json!({"type": "stdin", "data": "echo $V; exit 3\n"}));
    assert_eq!(client.exit_code(), 3);
    assert!(client.text().contains("kept"), "{client:?}");
    assert_eq!(status(&daemon, &sandbox, &session)["running"], false);
    // One that has ended says so again, with what it had written.
    let mut late = daemon.attach(&sandbox, &session, "since=0");
    assert_eq!((late.exit_code(), late.offset), (json!(3), Some(0)));
    assert!(late.replay.windows(5).any(|window| window == b"24 80"), "{late:?}");
    daemon.client.delete(&sandbox.path(&format!("proxy/44772/pty/{session}"))).expect(200);
    let gone = daemon.client.get(&sandbox.path(&format!("proxy/44772/pty/{session}")));
    gone.expect_error(404, "CONTEXT_NOT_FOUND");
    assert_eq!(daemon.try_attach(&sandbox, &session, "").err(), Some(404));
}

#[test]
fn output_is_shown_again_from_any_offset_byte_by_byte() {
    let Some(daemon) = Daemon::start("output_is_shown_again_from_any_offset") else { return };
    let sandbox = daemon.sleeper();
    let written = b"a\0\xff\x1b[1mb";
    let line = "printf 'a\\000\\377\\033[1mb'; read end";
    for (query, mode) in [("", "pty"), ("pty=0", "pipe")] {
        let session = sandbox.open_pty(&json!({"command": line}));
        let mut client = daemon.attach(&sandbox, &session, query);
        client.until("all of it", |client| client.out == written);
        assert_eq!(client.said[0]["mode"], mode);
        drop(client);
        for since in [0, 1, 3, 7] {
            let again = || daemon.try_attach(&sandbox, &session, &format!("since={since}"));
            let mut client = until("free", || again().map_err(|status| status.to_string()));
            client.until("the rest", |client| client.replay == written[since..]);
            assert_eq!((client.offset, client.out.len()), (Some(since as u64), 0));
        }
        let mut client =
            until("free", || daemon.try_attach(&sandbox, &session, "since=999").map_err(|status| status.to_string()));
        client.type_in(b"\n");
        assert_eq!(client.exit_code(), 0);
        assert_eq!(client.replay, b"");
        let size = status(&daemon, &sandbox, &session)["output_offset"].as_u64();
        assert_eq!(size, Some(written.len() as u64 + if mode == "pty" { 2 } else { 0 }), "and the echo of the key");
    }
}

#[test]
fn one_client_at_a_time_and_the_next_by_takeover() {
    let Some(daemon) = Daemon::start("one_client_at_a_time") else { return };
    let sandbox = daemon.sleeper();
    let session = sandbox.open_pty(&json!({}));
    let mut first = daemon.attach(&sandbox, &session, "");
    first.type_in(b"echo one\n");
    first.until_shown("one\r\n");
    assert_eq!(daemon.try_attach(&sandbox, &session, "").err(), Some(409));
    let mut second = daemon.attach(&sandbox, &session, "takeover=1&since=0");
    while first.hear() {}
    assert_eq!(first.closed.as_ref().map(|(code, _)| *code), Some(4001), "{first:?}");
    assert_eq!(first.said.last().map(|said| said["code"].clone()), Some(json!("TAKEN_OVER")));
    second.until_shown("one\r\n");
    second.type_in(b"exit 0\n");
    assert_eq!(second.exit_code(), 0);
    let plain = daemon.client.get(&sandbox.path(&format!("proxy/44772/pty/{session}/ws")));
    plain.expect_error(400, "INVALID_REQUEST_BODY");
}

#[test]
fn keys_and_signals_interrupt() {
    let Some(daemon) = Daemon::start("keys_and_signals_interrupt") else { return };
    let sandbox = daemon.sleeper();
    let session = sandbox.open_pty(&json!({}));
    let mut client = daemon.attach(&sandbox, &session, "");
    client.type_in(b"sh -c 'echo be\"\"gun; exec sleep 1000000'\n");
    client.until_shown("begun");
    client.type_in(b"\x03");
    client.type_in(b"echo code $?\n");
    client.until_shown("code 130");
    client.type_in(b"sh -c 'echo ag\"\"ain; exec sleep 1000000'\n");
    client.until_shown("again");
    client.say(&json!({"type": "signal", "signal": "SIGINT"}));
    client.type_in(b"echo co''de $?.\n");
    client.until_shown("code 130.");
    client.say(&json!({"type": "signal", "signal": "SIGKILL"}));
    assert_eq!(client.exit_code(), 137);

    let trap = "trap 'echo term; exit 9' TERM; echo ready; while true; do sleep 0.01; done";
    let session = sandbox.open_pty(&json!({"argv": ["sh", "-c", trap]}));
    let mut client = daemon.attach(&sandbox, &session, "pty=0");
    client.until_shown("ready");
    client.resize(80, 24);
    client.until("a refusal", |client| client.said.iter().any(|said| said["code"] == "INVALID_FRAME"));
    client.say(&json!({"type": "signal", "signal": "SIGTERM"}));
    assert_eq!(client.exit_code(), 9);
    for (argv, code) in [(json!(["/no/such"]), 127), (json!(["/etc/passwd"]), 126)] {
        let session = sandbox.open_pty(&json!({ "argv": argv }));
        let mut client = daemon.attach(&sandbox, &session, "");
        while client.hear() {}
        let last = client.said.last().cloned().unwrap_or_default();
        assert_eq!((&last["code"], &last["exit_code"]), (&json!("START_FAILED"), &json!(code)), "{last}");
    }
}

#[test]
fn pipes_are_apart_and_input_has_an_end() {
    let Some(daemon) = Daemon::start("pipes_are_apart_and_input_has_an_end") else { return };
    let sandbox = daemon.sleeper();
    let script = "cat; echo over >&2; exit 5";
    let session = sandbox.open_pty(&json!({"argv": ["sh", "-c", script], "wait_for_reader": true}));
    let mut client = daemon.attach(&sandbox, &session, "pty=0&streams=1");
    // More than any pipe holds, so that reading and writing take turns.
    let block: Vec<u8> = (0..=255).cycle().take(50_000).collect();
    for _ in 0..20 {
        client.type_in(&block);
        client.until("the echo", |client| !client.out.is_empty());
    }
    client.say(&json!({"type": "eof"}));
    assert_eq!(client.exit_code(), 5);
    assert_eq!((client.offset, client.err.as_slice()), (Some(0), b"over\n".as_slice()));
    assert!(client.out == block.repeat(20), "{} bytes", client.out.len());
    // By streams, also what was before.
    let mut again = daemon.attach(&sandbox, &session, "streams=1&since=999999");
    assert_eq!(again.exit_code(), 5);
    // The two have no order between each other.
    assert_eq!((again.out.len() + again.err.len(), again.offset), (6, Some(999_999)), "{again:?}");
    assert!(block.ends_with(&again.out) && b"over\n".ends_with(&again.err), "{again:?}");
    let session = sandbox.open_pty(&json!({"argv": ["cat"], "stdin": false}));
    assert_eq!(daemon.attach(&sandbox, &session, "pty=0").exit_code(), 0);
}

#[test]
fn signals_and_sizes_do_not_wait_behind_what_nobody_reads() {
    let Some(daemon) = Daemon::start("signals_and_sizes_do_not_wait") else { return };
    let sandbox = daemon.sleeper();
    let trap = "trap 'exit 9' TERM; trap 'stty size' INT; stty raw -echo; echo ready; while true; do sleep 0.01; done";
    for (query, code) in [("acks=1", 9), ("pty=0", 9)] {
        let session = sandbox.open_pty(&json!({"argv": ["sh", "-c", trap]}));
        let mut client = daemon.attach(&sandbox, &session, query);
        client.until_shown("ready");
        // More than a pipe or a terminal holds, and less than what is held for them.
        for _ in 0..10 {
            client.type_in(&[b'x'; 100_000]);
        }
        client.say(&json!({"type": "ping"}));
        client.until("a pong", |client| client.said.contains(&json!({"type": "pong"})));
        if query == "acks=1" {
            assert_eq!(
                (&client.said[0]["stdin_taken"], &client.said[0]["stdin_window"]),
                (&json!(0), &json!(256 << 10))
            );
            client.until("it is told", |client| client.said.iter().any(|said| said["type"] == "stdin_taken"));
            let taken = client.said.iter().rev().find(|said| said["type"] == "stdin_taken").cloned();
            let taken = taken.and_then(|said| said["bytes"].as_u64());
            assert!(taken.is_some_and(|taken| (1..900_000).contains(&taken)), "{taken:?}");
            client.resize(132, 43);
            client.say(&json!({"type": "signal", "signal": "SIGINT"}));
            client.until_shown("43 132");
        }
        client.say(&json!({"type": "signal", "signal": "SIGTERM"}));
        assert_eq!(client.exit_code(), code);
    }
    // What was typed is there when somebody reads, and its end comes after it.
    let later = "trap '>/tmp/go' TERM; echo ready; until [ -e /tmp/go ]; do sleep 0.01; done; wc -c";
    let session = sandbox.open_pty(&json!({"argv": ["sh", "-c", later]}));
    let mut client = daemon.attach(&sandbox, &session, "pty=0");
    client.until_shown("ready");
    for _ in 0..10 {
        client.type_in(&[b'x'; 100_000]);
    }
    client.say(&json!({"type": "eof"}));
    client.say(&json!({"type": "ping"}));
    client.until("a pong", |client| client.said.contains(&json!({"type": "pong"})));
    client.say(&json!({"type": "signal", "signal": "SIGTERM"}));
    assert_eq!(client.exit_code(), 0);
    assert_eq!(client.out, b"ready\n1000000\n");
}

#[test]
fn a_restart_of_the_daemon_loses_no_byte() {
    let Some(mut daemon) = Daemon::start("a_restart_of_the_daemon_loses_no_byte") else { return };
    let id = daemon.sleeper().id;
    let counting = "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done; read word; echo got $word; exit 6";
    for (query, line_end) in [("", "\r\n"), ("pty=0", "\n")] {
        let sandbox = daemon.sandbox(&id);
        let session = sandbox.open_pty(&json!({"argv": ["sh", "-c", counting]}));
        let mut client = daemon.attach(&sandbox, &session, query);
        client.until_shown(&format!("{line_end}2000{line_end}"));
        drop(client);
        daemon.kill();
        daemon.launch();
        let sandbox = daemon.sandbox(&id);
        let mut client = daemon.attach(&sandbox, &session, "since=0");
        client.until_shown(&format!("{line_end}29999{line_end}"));
        let expected: String = (0..30_000).map(|number| format!("{number}{line_end}")).collect();
        let text = client.text();
        let differ = text.bytes().zip(expected.bytes()).position(|(got, wanted)| got != wanted);
        assert!(text == expected, "{} of {} bytes, first other at {differ:?}", text.len(), expected.len());
        drop(client);
        // In order, too.
        daemon.stop();
        daemon.launch();
        let sandbox = daemon.sandbox(&id);
        let mut client = daemon.attach(&sandbox, &session, "");
        client.type_in(b"it\n");
        assert_eq!(client.exit_code(), 6);
        assert!(client.text().ends_with(&format!("got it{line_end}")), "{client:?}");
        // The next daemon still knows how it ended.
        daemon.kill();
        daemon.launch();
        let sandbox = daemon.sandbox(&id);
        let mut client = daemon.attach(&sandbox, &session, "since=0");
        assert_eq!(client.exit_code(), 6);
        assert!(client.text().starts_with(&expected));
    }
}

#[test]
fn no_process_ends_with_a_daemon_that_stops_in_order() {
    let Some(mut daemon) = Daemon::start("no_process_ends_with_a_daemon_that_stops") else { return };
    let id = daemon.sleeper().id;
    let sessions: Vec<_> = (0..60)
        .map(|number| {
            let sandbox = daemon.sandbox(&id);
            let session = sandbox.open_pty(&json!({"argv": ["sh", "-c", "echo here; read word; exit 6"]}));
            daemon.attach(&sandbox, &session, ["", "pty=0"][number % 2]).until_shown("here");
            session
        })
        .collect();
    // What a runtime takes apart in one order today comes in another the next time.
    for _ in 0..8 {
        daemon.stop();
        daemon.launch();
    }
    let sandbox = daemon.sandbox(&id);
    let all: Vec<_> = sessions.iter().map(|session| status(&daemon, &sandbox, session)).collect();
    assert!(all.iter().all(|status| status["running"] == true), "{all:?}");
}

#[test]
fn a_reader_that_falls_behind_is_told_where_it_goes_on() {
    let Some(daemon) = Daemon::start("a_reader_that_falls_behind") else { return };
    let sandbox = daemon.sleeper();
    let flood = sandbox.open_pty(&json!({"command": "yes"}));
    let mut slow = daemon.attach(&sandbox, &flood, "");
    slow.until_shown("y\r\ny\r\n");
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let before = resident();
    // Nobody waits for the slow one.
    let other = sandbox.open_pty(&json!({}));
    let mut client = daemon.attach(&sandbox, &other, "");
    client.type_in(b"echo fi''ne\n");
    client.until_shown("fine");
    until("far ahead", || match status(&daemon, &sandbox, &flood)["output_offset"].as_u64() {
        Some(offset) if offset > 4 << 20 => Ok(()),
        offset => Err(format!("{offset:?}")),
    });
    assert!(resident() < before + (8 << 10), "{before} KiB before, {} after", resident());
    slow.until("a jump", |client| client.offset.is_some());
    assert!(slow.offset > Some(1 << 20), "{slow:?}");
    daemon.client.delete(&sandbox.path(&format!("proxy/44772/pty/{flood}"))).expect(200);
    while slow.hear() {}
    assert_eq!(slow.said.last().map(|said| said["code"].clone()), Some(json!(GONE)), "{slow:?}");
}

#[test]
fn a_program_that_waits_for_its_reader_loses_nothing() {
    let Some(daemon) = Daemon::start("a_program_that_waits_for_its_reader_loses_nothing") else { return };
    let sandbox = daemon.sleeper();
    let (size, ahead) = (40_000_000, 8 << 20);
    let argv = json!(["head", "-c", size.to_string(), "/dev/zero"]);
    let session = sandbox.open_pty(&json!({"argv": argv, "wait_for_reader": true}));
    let mut client = daemon.attach(&sandbox, &session, "pty=0&streams=1");
    let written = || status(&daemon, &sandbox, &session)["output_offset"].as_u64().unwrap_or_default();
    until("it waits", || if written() >= ahead { Ok(()) } else { Err(written().to_string()) });
    assert!(written() < 16 << 20 && status(&daemon, &sandbox, &session)["running"] == true);
    assert_eq!(client.exit_code(), 0);
    assert_eq!((client.out.len(), client.offset), (size, Some(0)), "nothing was passed over");
}

#[test]
fn a_pause_is_waited_for_and_an_end_is_told() {
    let Some(daemon) = Daemon::start("a_pause_is_waited_for_and_an_end_is_told") else { return };
    let sandbox = daemon.sleeper();
    let session = sandbox.open_pty(&json!({}));
    let mut client = daemon.attach(&sandbox, &session, "");
    client.type_in(b"echo he''re\n");
    client.until_shown("here");
    sandbox.call("pause").expect(202);
    sandbox.post("proxy/44772/pty", &json!({})).expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
    assert_eq!(daemon.try_attach(&sandbox, &session, "takeover=1").err(), Some(409));
    client.type_in(b"echo af''ter\n");
    sandbox.call("resume").expect(202);
    client.until_shown("after");
    sandbox.delete();
    while client.hear() {}
    assert_eq!(client.said.last().map(|said| said["code"].clone()), Some(json!(GONE)), "{client:?}");
    assert_eq!(client.closed.as_ref().map(|(code, _)| *code), Some(1001));
}

#[test]
fn a_hundred_sessions_leave_nothing() {
    let Some(daemon) = Daemon::start("a_hundred_sessions_leave_nothing") else { return };
    let before = daemon.settled();
    let sandbox = daemon.sleeper();
    let open_files = || {
        let all = daemon.processes(&sandbox.id).into_iter();
        all.filter_map(|pid| Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())).sum::<usize>()
    };
    let (processes, files) = (daemon.processes(&sandbox.id).len(), open_files());
    for round in 0..100 {
        let session = sandbox.open_pty(&json!({"command": "sleep 1000000 & echo up; cat"}));
        let mut client = daemon.attach(&sandbox, &session, if round % 2 == 0 { "" } else { "pty=0" });
        client.until_shown("up");
        daemon.client.delete(&sandbox.path(&format!("proxy/44772/pty/{session}"))).expect(200);
    }
    until("as few processes and files as before", || {
        let now = (daemon.processes(&sandbox.id).len(), open_files());
        if now == (processes, files) { Ok(()) } else { Err(format!("{now:?} and not {:?}", (processes, files))) }
    });
    sandbox.delete();
    sandbox.until_unknown();
    daemon.check_left(&before);
}

#[test]
fn nobody_types_into_a_terminal_from_inside() {
    let Some(daemon) = Daemon::start("nobody_types_into_a_terminal_from_inside") else { return };
    daemon.import_debian();
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["image"]["uri"] = json!(DEBIAN);
    let sandbox = daemon.create_from(&request);
    let python = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for call in (0x5412, 0x541C, 0x5412 | 1 << 32, 0x541C | 1 << 32):
    done = libc.ioctl(0, ctypes.c_ulong(call), ctypes.c_char_p(b'X'))
    print(hex(call), done, os.strerror(ctypes.get_errno()))
print(os.isatty(0), os.getsid(0) == os.getpid())
";
    let session = sandbox.open_pty(&json!({"argv": ["python3", "-c", python]}));
    let mut client = daemon.attach(&sandbox, &session, "");
    assert_eq!(client.exit_code(), 0, "{client:?}");
    let text = client.text();
    assert_eq!(text.matches("-1 Operation not permitted").count(), 4, "{text}");
    assert!(text.ends_with("True True\r\n"), "{text}");
}
