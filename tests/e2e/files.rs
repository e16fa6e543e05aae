//! Files inside a sandbox, over its exec API: what the official clients' suites do not try.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Client, Daemon, Response, Sandbox, until};

const BOUNDARY: &str = "between-the-parts";

/// A multipart body of pairs of metadata and content.
fn multipart(files: &[(Value, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (metadata, content) in files {
        let part = |name: &str| {
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n")
        };
        body.extend(part("metadata").into_bytes());
        body.extend(metadata.to_string().into_bytes());
        body.extend(b"\r\n");
        body.extend(part("file").into_bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
    body
}

/// The exec API of one sandbox.
pub struct Files<'a> {
    client: &'a Client,
    sandbox: &'a Sandbox<'a>,
}

impl<'a> Files<'a> {
    pub fn of(daemon: &'a Daemon, sandbox: &'a Sandbox<'a>) -> Self {
        Self { client: &daemon.client, sandbox }
    }

    fn at(&self, rest: &str) -> String {
        self.sandbox.path(&format!("proxy/44772/{rest}"))
    }

    pub fn upload(&self, files: &[(Value, &[u8])]) -> Response {
        let body = multipart(files);
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\
             Content-Length: {}\r\n\r\n",
            self.at("files/upload"),
            body.len()
        );
        let answer = self.client.send(&[head.into_bytes(), body].concat()).expect("an answer");
        Response::parse("POST files/upload".to_owned(), &answer).expect("an answer of HTTP")
    }

    fn download(&self, path: &str) -> Response {
        self.client.get(&self.at(&format!("files/download?path={path}")))
    }

    fn info(&self, path: &str) -> Response {
        self.client.get(&self.at(&format!("files/info?path={path}")))
    }

    #[track_caller]
    fn shell(&self, command: &str) {
        let answer = self.sandbox.post("proxy/44772/command", &json!({ "command": command })).expect(200).text();
        assert!(answer.contains("execution_complete"), "{command}: {answer}");
    }
}

#[test]
fn links_lead_to_places_of_the_sandbox_only() {
    let Some(daemon) = Daemon::start("links_lead_to_places_of_the_sandbox_only") else { return };
    let sandbox = daemon.sleeper();
    let files = Files::of(&daemon, &sandbox);
    let canary = daemon.path("canary");
    fs::write(&canary, "of the host").expect("written");
    let shown = canary.display();
    files.shell("cd /tmp && echo inside > file && busybox ln -s / root && busybox ln -s ../../../../../.. up");
    files.shell(
        "cd /tmp && busybox ln -s /proc/1/root proc && busybox ln -s /proc/self/cwd cwd && busybox ln -s file link",
    );
    for way in
        ["/tmp/file", "/tmp/link", "/tmp/root/tmp/file", "/tmp/up/tmp/file", "/tmp/../tmp/./file", "~/../tmp/file"]
    {
        assert_eq!(files.download(way).expect(200).text(), "inside\n", "{way}");
    }
    for way in
        ["", "/tmp/root", "/tmp/up", "/tmp/proc", "/proc/1/root", "/proc/1/cwd", "/proc/self/fd/3", "/tmp/cwd/../.."]
    {
        let answer = files.download(&format!("{way}{shown}"));
        assert!((400..600).contains(&answer.status), "{way}: {answer}");
        let metadata = json!({"path": format!("{way}{shown}"), "mode": 644});
        files.upload(&[(metadata, b"written by a sandbox")]);
        files.client.delete(&files.at(&format!("files?path={way}{shown}")));
    }
    assert_eq!(fs::read_to_string(&canary).expect("read"), "of the host");
    sandbox.delete();
}

#[test]
fn nothing_but_files_is_opened_and_nobody_waits() {
    let Some(daemon) = Daemon::start("nothing_but_files_is_opened_and_nobody_waits") else { return };
    let sandbox = daemon.sleeper();
    let files = Files::of(&daemon, &sandbox);
    files.shell(
        "cd /tmp && busybox mkfifo fifo && (busybox nc -l -s 127.0.0.1 -p 9 < /dev/null > /dev/null &) && mkdir dir",
    );
    for path in [
        "/tmp/fifo",
        "/dev/zero",
        "/dev/tty",
        "/proc/self/status",
        "/proc/version",
        "/sys/kernel/uevent_seqnum",
        "/tmp",
    ] {
        let answer = files.download(path);
        assert!((400..600).contains(&answer.status), "{path}: {answer}");
        let answer = files.upload(&[(json!({ "path": path }), b"x")]);
        assert!((400..600).contains(&answer.status), "{path}: {answer}");
    }
    assert_eq!(files.info("/tmp/fifo").expect(200).json()["/tmp/fifo"]["type"], "other");
    files.download("/tmp/none").expect_error(404, "FILE_NOT_FOUND");
    files.client.get(&files.at("files/download")).expect_error(400, "MISSING_QUERY");
    // The root of a sandbox is not removed by a slip.
    let refused = files.client.delete(&files.at("directories?path=/"));
    assert!((400..600).contains(&refused.status), "{refused}");
    files.shell("test -x /bin/sh && test -d /tmp/dir");
    sandbox.delete();
}

#[test]
fn a_swap_of_directory_and_link_leads_nowhere_else() {
    let Some(daemon) = Daemon::start("a_swap_of_directory_and_link_leads_nowhere_else") else { return };
    let sandbox = daemon.sleeper();
    let files = Files::of(&daemon, &sandbox);
    let canary = daemon.path("canary");
    fs::write(&canary, "of the host").expect("written");
    let shown = canary.display().to_string();
    let dir = canary.parent().expect("a directory").display();
    files.shell(&format!(
        "mkdir -p /tmp/race/a{dir} && echo inside > /tmp/race/a{shown} && busybox ln -s / /tmp/race/b"
    ));
    let racer = json!({"argv": ["/bin/probe", "swap", "/tmp/race/a", "/tmp/race/b"], "background": true});
    sandbox.post("proxy/44772/command", &racer).expect(200);
    let path = format!("/tmp/race/a{shown}");
    let (mut inside, mut elsewhere) = (0, 0);
    for round in 0..2000 {
        let answer = files.download(&path);
        match answer.status {
            200 => assert_eq!(answer.text().trim_end(), "inside"),
            status => assert!((400..600).contains(&status), "{answer}"),
        }
        *if answer.status == 200 { &mut inside } else { &mut elsewhere } += 1;
        if round % 10 == 0 {
            let answer = files.upload(&[(json!({ "path": path }), b"inside\n")]);
            assert_ne!(answer.status, 0, "{answer}");
            files.client.get(&files.at(&format!("directories/list?path=/tmp/race/a{dir}")));
        }
        if inside > 200 && elsewhere > 200 {
            break;
        }
    }
    assert!(inside > 0, "the directory was never in its place");
    assert_eq!(fs::read_to_string(&canary).expect("read"), "of the host");
    sandbox.delete();
}

#[test]
fn owners_and_modes_are_those_of_the_sandbox() {
    let Some(daemon) = Daemon::start("owners_and_modes_are_those_of_the_sandbox") else { return };
    let sandbox = daemon.sleeper();
    let files = Files::of(&daemon, &sandbox);
    files
        .upload(&[
            (json!({"path": "/tmp/a/one", "owner": "user", "group": "user", "mode": 4750}), b"1"),
            (json!({"path": "/tmp/a/two", "owner": null, "group": null, "mode": 600}), b"\0\xff"),
        ])
        .expect(200);
    let info = files.info("/tmp/a/one&path=/tmp/a/two").expect(200).json();
    let of = |path: &str| (info[path]["owner"].clone(), info[path]["group"].clone(), info[path]["mode"].clone());
    assert_eq!(of("/tmp/a/one"), (json!("user"), json!("user"), json!(4750)));
    assert_eq!(of("/tmp/a/two"), (json!("root"), json!("root"), json!(600)));
    assert_eq!(files.download("/tmp/a/two").expect(200).body, b"\0\xff");
    let as_user = sandbox.path("proxy/44772/v1/filesystem/1000/1000");
    assert_eq!(daemon.client.get(&format!("{as_user}/files/download?path=/tmp/a/one")).expect(200).text(), "1");
    let refused = daemon.client.get(&format!("{as_user}/files/download?path=/tmp/a/two"));
    assert!((400..600).contains(&refused.status), "{refused}");
    let unknown = files.upload(&[(json!({"path": "/tmp/a/three", "owner": "nobody-here"}), b"3")]);
    assert!((400..600).contains(&unknown.status), "{unknown}");
    files.info("/tmp/a/three").expect_error(404, "FILE_NOT_FOUND");
    sandbox.delete();
}

#[test]
fn states_are_answered_at_once() {
    let Some(daemon) = Daemon::start("states_are_answered_at_once") else { return };
    let sandbox = daemon.sleeper();
    let before = daemon.processes(&sandbox.id).len();
    let files = Files::of(&daemon, &sandbox);
    files.info("/tmp").expect(200);
    sandbox.call("pause").expect(202);
    files.info("/tmp").expect_error(409, "DOCKER::SANDBOX_NOT_RUNNING");
    sandbox.call("resume").expect(202);
    files.info("/tmp").expect(200);
    // Who serves files goes when nobody has asked for a while.
    until("alone again", || match daemon.processes(&sandbox.id).len() {
        now if now == before => Ok(()),
        now => Err(format!("{now} processes, {before} before")),
    });
    sandbox.delete();
    assert_eq!(files.info("/tmp").status, 404);
}

#[test]
fn a_large_file_goes_through_without_being_held() {
    let Some(daemon) = Daemon::start("a_large_file_goes_through_without_being_held") else { return };
    let sandbox = daemon.sleeper();
    let files = Files::of(&daemon, &sandbox);
    files.shell("head -c 300000000 /dev/zero > /tmp/large");
    files.download("/tmp/none");
    let before = daemon.peak_kib();
    let large = files.download("/tmp/large").expect(200);
    assert_eq!(large.body.len(), 300_000_000);
    files.upload(&[(json!({"path": "/tmp/again"}), &large.body)]).expect(200);
    files.shell("busybox cmp /tmp/large /tmp/again");
    let grown = daemon.peak_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "the daemon has grown by {grown} KiB");
    sandbox.delete();
}
