//! Commands and sessions inside a sandbox, over its exec API.

use serde_json::{Value, json};

use crate::harness::{Daemon, Response, Sandbox, until};

/// The events of a stream.
fn events(answer: &Response) -> Vec<Value> {
    let text = answer.text();
    let event = |frame: &str| serde_json::from_str(frame.trim_start_matches("data: ")).expect("an event");
    text.split_terminator("\n\n").map(event).collect()
}

/// What of one kind was written, and the last event.
fn told(answer: &Response) -> (Vec<String>, Vec<String>, Value) {
    let events = events(answer);
    let texts = |kind: &str| {
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        of_kind.map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(events.first().map(|event| event["type"].clone()), Some(json!("init")), "{events:?}");
    assert!(events.iter().all(|event| event["timestamp"].as_i64().is_some_and(|at| at > 1_600_000_000_000)));
    (texts("stdout"), texts("stderr"), events.last().cloned().unwrap_or_default())
}

fn run(sandbox: &Sandbox<'_>, request: &Value) -> (Vec<String>, Vec<String>, Value) {
    told(&sandbox.post("proxy/44772/command", request).expect(200))
}

#[track_caller]
fn stdout(sandbox: &Sandbox<'_>, command: &str) -> Vec<String> {
    let (stdout, stderr, last) = run(sandbox, &json!({ "command": command }));
    assert_eq!((last["type"].as_str(), stderr), (Some("execution_complete"), vec![]), "{command}: {last}");
    stdout
}

#[test]
fn a_command_tells_its_output_and_its_end() {
    let Some(daemon) = Daemon::start("a_command_tells_its_output_and_its_end") else { return };
    let sandbox = daemon.sleeper();
    daemon.client.get(&sandbox.path("proxy/44772/ping")).expect(200);
    assert_eq!(stdout(&sandbox, "printf 'a\\n\\nb'"), ["a", "\n", "b"]);
    let (out, err, last) = run(&sandbox, &json!({"command": "echo out; echo err >&2; exit 7"}));
    assert_eq!((out, err), (vec!["out".to_owned()], vec!["err".to_owned()]));
    assert_eq!((&last["type"], &last["error"]["evalue"]), (&json!("error"), &json!("7")));
    let (_, _, last) = run(&sandbox, &json!({"command": "kill -KILL $$"}));
    assert_eq!(last["error"]["evalue"], "-1", "{last}");
    let (_, _, last) = run(&sandbox, &json!({"argv": ["/no/such/program"]}));
    assert_eq!(last["error"]["evalue"], "127", "{last}");
    let (_, _, last) = run(&sandbox, &json!({"command": "sleep 1000", "timeout": 50}));
    assert!(last["error"]["traceback"][0].as_str().is_some_and(|text| text.contains("timed out")), "{last}");
    // What a command leaves behind does not hold its stream.
    assert_eq!(stdout(&sandbox, "sleep 1000 & echo started"), ["started"]);
    assert_eq!(stdout(&sandbox, "yes & sleep 0.1; kill $!").first().map(String::as_str), Some("y"));
    sandbox
        .post("proxy/44772/command", &json!({"command": "a", "argv": ["b"]}))
        .expect_error(400, "INVALID_REQUEST_BODY");
    let before = daemon.processes(&sandbox.id).len();
    until("the killed ones are reaped", || match daemon.processes(&sandbox.id).len() {
        left if left <= before && left < 6 => Ok(()),
        left => Err(format!("{left} processes")),
    });
}

#[test]
fn a_command_is_as_confined_as_the_entrypoint() {
    let Some(daemon) = Daemon::start("a_command_is_as_confined_as_the_entrypoint") else { return };
    let sandbox = daemon.sleeper();
    let status = "grep -E '^(Cap(Eff|Bnd|Prm|Inh|Amb)|NoNewPrivs|Seccomp):' /proc/";
    let own = stdout(&sandbox, &format!("{status}self/status"));
    assert_eq!(own, stdout(&sandbox, &format!("{status}2/status")), "the same as the entrypoint's");
    assert_eq!(own.len(), 7);
    assert_eq!(stdout(&sandbox, "cat /proc/self/cgroup"), stdout(&sandbox, "cat /proc/2/cgroup"));
    assert_eq!(stdout(&sandbox, "ls /proc/self/fd"), ["0", "1", "2", "3"], "3 is the directory itself");
    assert_eq!(stdout(&sandbox, "cat /proc/self/uid_map"), stdout(&sandbox, "cat /proc/2/uid_map"));
    for namespace in ["user", "pid", "net", "ipc", "uts", "mnt"] {
        let link = |pid: &str| stdout(&sandbox, &format!("readlink /proc/{pid}/ns/{namespace}"));
        assert_eq!(link("self"), link("2"), "{namespace}");
    }
    let (_, _, last) = run(&sandbox, &json!({"command": "unshare -U true"}));
    assert_eq!(last["type"], "error");
    let refused =
        "for n in exe fd root cwd; do ls /proc/1/$n/ 2>/dev/null && echo leak; done; cat /proc/1/environ; true";
    assert_eq!(run(&sandbox, &json!({ "command": refused })).0, Vec::<String>::new());
}

#[test]
fn environment_directory_and_user_are_the_requests() {
    let Some(daemon) = Daemon::start("environment_directory_and_user_are_the_requests") else { return };
    let mut request = daemon.request(&["sleep", "1000000"]);
    request["env"] = json!({"A": "sandbox", "B": "sandbox"});
    let sandbox = daemon.create_from(&request);
    let body = json!({"command": "echo $A $B $HOME; pwd; id -u; id -g", "envs": {"B": "request"}, "cwd": "$TMP_DIR/x",
        "uid": 1234, "gid": 77});
    stdout(&sandbox, "mkdir -p /tmp/x; echo \"TMP_DIR='/tmp'\" >> $EXECD_ENVS");
    let (out, _, last) = run(&sandbox, &body);
    assert_eq!(out, ["sandbox request /", "/tmp/x", "1234", "77"], "{last}");
    for cwd in ["/nowhere", "/etc/passwd", "$UNSET/x", "relative/none"] {
        let answer = sandbox.post("proxy/44772/command", &json!({"command": "true", "cwd": cwd}));
        answer.expect_error(400, "INVALID_REQUEST_BODY");
    }
}

#[test]
fn output_in_the_background_is_kept_byte_by_byte_also_through_a_restart() {
    let Some(mut daemon) = Daemon::start("output_in_the_background_is_kept") else { return };
    let id = daemon.sleeper().id;
    let sandbox = daemon.sandbox(&id);
    let script = "printf 'a\\0b'; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo after; echo gone >&2; exit 4";
    let started = sandbox.post("proxy/44772/command", &json!({"command": script, "background": true})).expect(200);
    let command = events(&started)[0]["text"].as_str().expect("an id").to_owned();
    let session =
        sandbox.call("proxy/44772/session").expect(200).json()["session_id"].as_str().expect("an id").to_owned();
    let in_session = format!("proxy/44772/session/{session}/run");
    told(&sandbox.post(&in_session, &json!({"command": "cd /tmp; V=kept; export E=kept"})).expect(200));
    let logs = format!("{}?cursor=", sandbox.path(&format!("proxy/44772/command/{command}/logs")));
    until("the first bytes", || match daemon.client.get(&format!("{logs}0")).expect(200) {
        answer if answer.body == b"a\0b" => Ok(()),
        answer => Err(answer.to_string()),
    });

    daemon.kill();
    daemon.launch();
    let sandbox = daemon.sandbox(&id);
    let status = sandbox.path(&format!("proxy/44772/command/status/{command}"));
    let before = daemon.client.get(&status).expect(200).json();
    assert_eq!((&before["running"], &before["content"]), (&json!(true), &json!(script)), "{before}");
    assert_eq!(
        told(&sandbox.post(&in_session, &json!({"command": "echo $V $E; pwd"})).expect(200)).0,
        ["kept kept", "/tmp"]
    );
    stdout(&sandbox, "touch /tmp/go");
    let after = until("its end", || {
        let status = daemon.client.get(&status).expect(200).json();
        if status["running"] == false { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!((&after["exit_code"], &after["error"]), (&json!(4), &json!("exit status 4")));
    let answer = until("all of it", || match daemon.client.get(&format!("{logs}3")).expect(200) {
        answer if answer.body == b"after\ngone\n" => Ok(answer),
        answer => Err(answer.to_string()),
    });
    assert_eq!(answer.header("execd-commands-tail-cursor"), Some("14"));
    sandbox.delete();
    sandbox.until_unknown();
}

#[test]
fn an_interrupt_ends_a_command_and_all_that_it_has_started() {
    let Some(daemon) = Daemon::start("an_interrupt_ends_a_command") else { return };
    let sandbox = daemon.sleeper();
    let body = json!({"command": "sleep 1000000 & sleep 1000000", "background": true});
    let started = sandbox.post("proxy/44772/command", &body).expect(200);
    let command = events(&started)[0]["text"].as_str().expect("an id").to_owned();
    let interrupt = sandbox.path(&format!("proxy/44772/command?id={command}"));
    daemon.client.delete(&interrupt).expect(200);
    until("both are gone", || match daemon.processes(&sandbox.id).len() {
        2 => Ok(()),
        left => Err(format!("{left} processes")),
    });
    daemon.client.delete(&interrupt).expect_error(500, "RUNTIME_ERROR");
    daemon.client.delete(&sandbox.path("proxy/44772/command")).expect_error(400, "MISSING_QUERY");
}

#[test]
fn a_session_goes_on_where_the_last_run_ended() {
    let Some(daemon) = Daemon::start("a_session_goes_on") else { return };
    let sandbox = daemon.sleeper();
    let opened = sandbox.post("proxy/44772/session", &json!({"cwd": "/tmp/it's new"})).expect(200).json();
    let path = format!("proxy/44772/session/{}", opened["session_id"].as_str().expect("an id"));
    let run = |body: &Value| told(&sandbox.post(&format!("{path}/run"), body).expect(200));
    assert_eq!(run(&json!({"command": "pwd; export A=1; B='x y'"})).0, ["/tmp/it's new"]);
    let (out, _, last) = run(&json!({"command": "echo $A $B; echo err >&2; cd /; exit 9"}));
    assert_eq!((out, &last["error"]["evalue"]), (vec!["1 x y".to_owned(), "err".to_owned()], &json!("9")));
    assert_eq!(run(&json!({"command": "pwd"})).0, ["/"], "also after an exit");
    assert_eq!(run(&json!({"command": "pwd", "cwd": "/etc"})).0, ["/etc"]);
    let (_, _, last) = run(&json!({"command": "sleep 1000", "timeout": 50}));
    assert_eq!(last["type"], "error");
    assert_eq!(run(&json!({"command": "echo $A"})).0, ["1"], "what was kept before the one that was killed");
    sandbox
        .post(&format!("{path}/run"), &json!({"command": "true", "cwd": "/nowhere"}))
        .expect_error(400, "INVALID_REQUEST_BODY");
    daemon.client.delete(&sandbox.path(&path)).expect(200);
    daemon.client.delete(&sandbox.path(&path)).expect_error(404, "CONTEXT_NOT_FOUND");
    sandbox.post(&format!("{path}/run"), &json!({"command": "true"})).expect_error(500, "RUNTIME_ERROR");
}

#[test]
fn a_sandbox_that_does_not_run_takes_no_commands() {
    let Some(daemon) = Daemon::start("a_sandbox_that_does_not_run_takes_no_commands") else { return };
    let before = daemon.settled();
    let sandbox = daemon.sleeper();
    sandbox.call("pause").expect(202);
    let command = json!({"command": "true"});
    sandbox.post("proxy/44772/command", &command).expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
    daemon.client.get(&sandbox.path("proxy/44772/ping")).expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
    sandbox.call("resume").expect(202);
    assert_eq!(stdout(&sandbox, "echo again"), ["again"]);

    // A stream that is open when the sandbox is removed ends with the reason.
    let path = sandbox.path("proxy/44772/command");
    let last = std::thread::scope(|scope| {
        let client = &daemon.client;
        let path = &path;
        let stream = scope.spawn(move || {
            told(&client.post(path, &json!({"command": "touch /tmp/here; sleep 1000000"})).expect(200)).2
        });
        until("it runs", || match run(&sandbox, &json!({"command": "test -e /tmp/here"})).2 {
            last if last["type"] == "execution_complete" => Ok(()),
            last => Err(last.to_string()),
        });
        sandbox.delete();
        stream.join().expect("the stream ended")
    });
    assert!(last["error"]["traceback"][0].as_str().is_some_and(|text| text.contains("the sandbox is")), "{last}");
    sandbox.post("proxy/44772/command", &command).expect_error(404, "DOCKER::SANDBOX_NOT_FOUND");
    sandbox.until_unknown();
    daemon.check_left(&before);
}
