//! Servers in sandboxes, reached through the daemon.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Daemon, Response, Sandbox, until};

/// Serves the files of a directory, with what makes them before.
fn server<'a>(daemon: &'a Daemon, address: &str, make: &str) -> Sandbox<'a> {
    let script = format!("mkdir /tmp/www; cd /tmp/www; {make}; exec busybox httpd -f -p {address} -h /tmp/www");
    daemon.create(&["sh", "-c", &script])
}

/// The answer once something listens.
fn fetch(client: &Client, path: &str) -> Response {
    until("answered by the server", || match client.get(path) {
        answer if answer.text().contains("BACKEND_CONNECTION_FAILED") => Err(answer.to_string()),
        answer => Ok(answer),
    })
}

fn endpoint(daemon: &Daemon, sandbox: &Sandbox<'_>, port: &str) -> (String, String) {
    let told = daemon.client.get(&sandbox.path(&format!("endpoints/{port}"))).expect(200).json();
    let path = told["endpoint"].as_str().and_then(|address| address.strip_prefix("bivouac")).expect("our host");
    (path.to_owned(), told["headers"].to_string())
}

#[test]
fn each_sandbox_has_its_own_port_and_keeps_it_over_a_restart() {
    let Some(mut daemon) = Daemon::start("each_sandbox_has_its_own_port") else { return };
    let (one, two, told) = {
        let one = server(&daemon, "127.0.0.1:8000", "echo one > who");
        let two = server(&daemon, "[::1]:8000", "echo two > who");
        let told = endpoint(&daemon, &one, "8000");
        assert_eq!(fetch(&daemon.client, &format!("{}/who", told.0)).expect(200).text(), "one\n");
        assert_eq!(fetch(&daemon.client, &two.path("proxy/8000/who")).expect(200).text(), "two\n");
        daemon.client.get(&one.path("proxy/8000/nosuch")).expect(404);
        daemon.client.get(&one.path("proxy/8001/")).expect_error(502, "BACKEND_CONNECTION_FAILED");
        (one.id, two.id, told)
    };
    daemon.kill();
    daemon.launch();
    let (one, two) = (daemon.sandbox(&one), daemon.sandbox(&two));
    assert_eq!(endpoint(&daemon, &one, "8000"), told, "address and token are the same");
    assert_eq!(daemon.client.get(&one.path("proxy/8000/who")).expect(200).text(), "one\n");
    one.call("pause").expect(202);
    daemon.client.get(&one.path("proxy/8000/who")).expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
    assert_eq!(daemon.client.get(&two.path("proxy/8000/who")).expect(200).text(), "two\n");
    one.call("resume").expect(202);
    assert_eq!(daemon.client.get(&one.path("proxy/8000/who")).expect(200).text(), "one\n");
    one.delete();
    daemon.client.get(&one.path("proxy/8000/who")).expect_error(404, "DOCKER::SANDBOX_NOT_FOUND");
}

#[test]
fn nothing_of_it_is_left_on_the_host() {
    let Some(daemon) = Daemon::start("nothing_of_it_is_left_on_the_host") else { return };
    // The thread that makes sockets stays, so that is there before.
    let first = server(&daemon, "8000", "dd if=/dev/zero of=big bs=1M count=64 2>/dev/null");
    fetch(&daemon.client, &first.path("proxy/8000/big")).expect(200);
    first.delete();
    let before = daemon.settled();
    let sandbox = server(&daemon, "8000", "dd if=/dev/zero of=big bs=1M count=64 2>/dev/null");
    let answer = fetch(&daemon.client, &sandbox.path("proxy/8000/big")).expect(200);
    assert_eq!((answer.body.len(), answer.header("content-length")), (64 << 20, Some("67108864")));
    let part = daemon.client.with("Range: bytes=5-9").get(&sandbox.path("proxy/8000/big"));
    assert_eq!((part.status, part.body.len()), (206, 5));
    sandbox.post("proxy/44772/command", &json!({"command": "true"})).expect(200);
    let mut open = stream(&daemon);
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", sandbox.path("proxy/8000/big"));
    open.write_all(request.as_bytes()).expect("sent");
    open.read_exact(&mut [0; 1000]).expect("begun");
    sandbox.delete();
    // It was not read to its end, and is cut: less than what the server had to say comes.
    let mut rest = Vec::new();
    let read = open.read_to_end(&mut rest);
    assert!(read.is_err() || rest.len() < 64 << 20, "{}", rest.len());
    drop(open);
    daemon.check_left(&before);
}

#[test]
fn a_long_answer_comes_byte_for_byte_or_breaks_off() {
    let Some(daemon) = Daemon::start("a_long_answer_comes_byte_for_byte") else { return };
    let sandbox = server(&daemon, "8000", "seq 1 1500000 > numbers; truncate -s 1G endless");
    let numbers: String = (1..=1_500_000).map(|number| format!("{number}\n")).collect();
    let answer = fetch(&daemon.client, &sandbox.path("proxy/8000/numbers")).expect(200);
    assert!(answer.text() == numbers, "{} bytes of {}", answer.body.len(), numbers.len());
    let mut stream = stream(&daemon);
    let ask = format!("GET {} HTTP/1.1\r\nHost: b\r\n\r\n", sandbox.path("proxy/8000/endless"));
    stream.write_all(ask.as_bytes()).expect("asked");
    stream.read_exact(&mut [0; 1 << 20]).expect("it has begun");
    sandbox.delete();
    let rest = std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default();
    assert!(rest < 1 << 30, "the sandbox has ended, and its answer has not");
}

fn stream(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.path("api.sock")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    stream
}

#[test]
fn an_upgraded_connection_carries_bytes_until_both_sides_have_ended() {
    let Some(daemon) = Daemon::start("an_upgraded_connection_carries_bytes") else { return };
    let answer = r#"while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
        printf 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'; cat; echo end"#;
    let script =
        format!("cat > /tmp/echo <<'X'\n#!/bin/sh\n{answer}\nX\nchmod 755 /tmp/echo; exec nc -ll -p 9000 -e /tmp/echo");
    let sandbox = daemon.create(&["sh", "-c", &script]);
    fetch(&daemon.client, &sandbox.path("proxy/9000"));
    let mut open = stream(&daemon);
    let path = sandbox.path("proxy/9000/ws");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\nSec-WebSocket-Key: x\r\n\r\n"
    );
    open.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        open.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 253) as u8).collect();
    let mut writing = open.try_clone().expect("cloned");
    let bytes = sent.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(&bytes).expect("sent");
        writing.shutdown(Shutdown::Write).expect("ended");
    });
    let mut back = Vec::new();
    open.read_to_end(&mut back).expect("read");
    writer.join().expect("written");
    assert!(back.strip_suffix(b"end\n") == Some(&sent[..]), "{} bytes came back", back.len());
}

#[test]
fn probes_of_the_code_interpreter_find_a_listener() {
    let Some(mut daemon) = Daemon::start("probes_of_the_code_interpreter_find_a_listener") else { return };
    let probe = json!({"command": "nc 127.0.0.1 44771 < /dev/null"});
    let found = |daemon: &Daemon, id: &str| {
        let events = daemon.sandbox(id).post("proxy/44772/command", &probe).expect(200).text();
        assert!(events.contains("execution_complete") && !events.contains("\"error\""), "{events}");
    };
    let (idle, busy) = (daemon.sleeper().id, daemon.create(&["nc", "-ll", "-p", "44771", "-e", "echo", "own"]).id);
    found(&daemon, &idle);
    until("the program's own listener is found", || {
        let events = daemon.sandbox(&busy).post("proxy/44772/command", &probe).expect(200).text();
        if events.contains("\"own\"") { Ok(()) } else { Err(events) }
    });
    daemon.kill();
    daemon.launch();
    found(&daemon, &idle);
    // Many at once, and the sandbox's descriptors are none of the daemon's.
    let many = json!({"command": "for i in $(seq 200); do nc 127.0.0.1 44771 < /dev/null || exit 1; done"});
    let events = daemon.sandbox(&idle).post("proxy/44772/command", &many).expect(200).text();
    assert!(events.contains("execution_complete") && !events.contains("\"error\""), "{events}");
}
