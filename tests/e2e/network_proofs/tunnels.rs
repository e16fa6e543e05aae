//! Programs of Debian that carry other traffic in questions for names, with their own servers as the resolver that the daemon asks:
//! without a policy each gets through, under one that allows another name nothing of it leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Counters, Daemon, Namespace, Sandbox, World, counter, installed, wait};
use crate::network::output;
use crate::network_policy::{CONFIG, GATEWAY, ask, probed, with_policy};

const DOMAIN: &str = "t.evil.example";
const IODINE: &str = "/usr/sbin/iodine";
const DNS2TCP: &str = "/usr/bin/dns2tcpc";
/// The gateway, whom the daemon asks, and others outside who resolve names for everybody.
const SERVERS: [&str; 4] = [GATEWAY, "203.0.113.1", "8.8.8.8", "2001:4860:4860::8888"];
/// These programs wait for seconds before they give up.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program of the test in a namespace, until it is dropped; what it says is in a file.
struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    fn start(place: &Namespace, dir: &TempDir, name: &str, program: &str, arguments: &[&str]) -> Self {
        let said = dir.path().join(name);
        let file = fs::File::create(&said).expect("a file");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone().expect("a clone")).stderr(file);
        Self { child: place.run(|| command.spawn().expect("started")), said }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).expect("a file")).into_owned()
    }

    #[track_caller]
    fn until_says(&self, words: &str) {
        wait::until_within(PATIENCE, words, || if self.said().contains(words) { Ok(()) } else { Err(self.said()) });
    }

    /// What it has said when it ended by itself.
    #[track_caller]
    fn ended(mut self) -> String {
        wait::until_within(PATIENCE, "ended", || match self.child.try_wait().expect("a child of ours") {
            Some(_) => Ok(()),
            None => Err(self.said()),
        });
        self.said()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Counts whatever comes from the host, but for what tells a server that nobody waits for its answer any more; and questions
/// apart.
fn counters(world: &World) -> Counters {
    let from_host = |name, like: &str| (name, format!("iifname \"line0\" {like}"));
    let all = [
        from_host("everything", "meta l4proto { tcp, udp }"),
        from_host("everything", "icmp type echo-request"),
        from_host("everything", "icmpv6 type echo-request"),
        from_host("questions", "udp dport 53"),
    ];
    Counters::start(&world.outside, counter::FIRST, &all)
}

/// A sandbox that may ask for one name, and reach every address: what is closed to it is closed because it resolves names. What
/// others have asked before has been taken up when this returns.
fn policed(daemon: &Daemon) -> Sandbox<'_> {
    let allowed = ["a.example", "0.0.0.0/0", "::/0"].map(|target| json!({ "action": "allow", "target": target }));
    let sandbox = daemon.create_from(&with_policy(daemon, &json!({ "defaultAction": "deny", "egress": allowed })));
    assert_eq!(probed(&sandbox, &ask("udp", GATEWAY, &[(DOMAIN, "A")])), ["NXDomain"]);
    sandbox
}

/// What is allowed is asked outside, and the counters see it.
#[track_caller]
fn check_that_they_count(sandbox: &Sandbox<'_>, counters: &Counters) {
    probed(sandbox, &ask("udp", GATEWAY, &[("a.example", "A")]));
    assert!(counters.packets("questions") > 0);
}

/// Copies a program of this machine into a sandbox with the libraries that it needs; what to call there.
fn carry(daemon: &Daemon, sandbox: &Sandbox<'_>, program: &str) -> String {
    let listed = Command::new("ldd").arg(program).output().expect("started");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let mut loader = None;
    for path in libraries.chain([program]) {
        let name = Path::new(path).file_name().expect("a name").to_string_lossy().into_owned();
        let real = fs::canonicalize(path).expect("a file").display().to_string();
        let copied = daemon.cli(&["cp", &real, &format!("{}:/tmp/{name}", sandbox.id)]);
        assert!(copied.status.success(), "{path}: {}", String::from_utf8_lossy(&copied.stderr));
        loader = loader.or_else(|| name.starts_with("ld-").then_some(name));
    }
    let name = Path::new(program).file_name().expect("a name").to_string_lossy();
    format!("/tmp/{} --library-path /tmp /tmp/{name}", loader.unwrap_or_else(|| panic!("{listed}")))
}

/// The client wants to make an interface, which no sandbox can: it runs as root of the host in the sandbox's network, so that it
/// has more than any program of a sandbox could have, and goes as far as it can.
#[test]
fn iodine_gets_nothing_out() {
    let Some(world) = World::start("iodine_gets_nothing_out") else { return };
    if !installed("iodine_gets_nothing_out", Path::new(IODINE)) {
        return;
    }
    let (dir, daemon) = (tempfile::tempdir().expect("a directory"), world.daemon(CONFIG));
    let server = ["-f", "-c", "-P", "secret", "-l", "203.0.113.1", "10.199.0.1/24", DOMAIN];
    let server = Running::start(&world.outside, &dir, "iodined", "/usr/sbin/iodined", &server);
    server.until_says("Listening to dns for domain");
    let client = |place: &Namespace, kind: &str, link: &str, server: &str| {
        let name = format!("{kind}-{server}");
        Running::start(place, &dir, &name, IODINE, &["-f", "-P", "secret", "-T", kind, "-d", link, server, DOMAIN])
    };

    let free = daemon.sleeper();
    let network = |sandbox: &Sandbox<'_>| Namespace::of(daemon.processes(&sandbox.id)[0]);
    let through = client(&network(&free), "NULL", "dns0", GATEWAY);
    through.until_says("Connection setup complete");
    drop(through);
    free.delete();

    let sandbox = policed(&daemon);
    let (place, counters) = (network(&sandbox), counters(&world));
    let kinds = ["NULL", "PRIVATE", "TXT", "SRV", "MX", "CNAME", "A"];
    let ways = SERVERS.iter().flat_map(|server| kinds.map(|kind| (kind, *server))).enumerate();
    let clients: Vec<Running> =
        ways.map(|(at, (kind, server))| client(&place, kind, &format!("dns{at}"), server)).collect();
    for client in clients {
        let said = client.ended();
        assert!(said.contains("Opened dns") && said.contains("couldn't connect to server"), "{said}");
    }
    assert_eq!(counters.packets("everything"), 0);
    check_that_they_count(&sandbox, &counters);
    // In a sandbox the same client does not come as far as to ask.
    let inside = carry(&daemon, &sandbox, IODINE);
    let said = output(&sandbox, &format!("{inside} -f -P secret {GATEWAY} {DOMAIN} 2>&1"));
    assert!(said.contains("/dev/net/tun"), "{said}");
}

#[test]
fn dns2tcp_gets_nothing_out() {
    let Some(world) = World::start("dns2tcp_gets_nothing_out") else { return };
    if !installed("dns2tcp_gets_nothing_out", Path::new(DNS2TCP)) {
        return;
    }
    let (dir, daemon) = (tempfile::tempdir().expect("a directory"), world.daemon(CONFIG));
    let config = format!(
        "listen = 203.0.113.1\nport = 53\nuser = nobody\nchroot = {}\ndomain = {DOMAIN}\nresources = hidden:127.0.0.1:9\n",
        dir.path().display()
    );
    let file = dir.path().join("config");
    fs::write(&file, config).expect("written");
    let server = ["-F", "-d", "1", "-f", &file.display().to_string()];
    let server = Running::start(&world.outside, &dir, "dns2tcpd", "/usr/bin/dns2tcpd", &server);
    let free = daemon.sleeper();
    let client = carry(&daemon, &free, DNS2TCP);
    let list = |sandbox: &Sandbox<'_>, kind: &str, server: &str| {
        output(sandbox, &format!("{client} -T {kind} -z {DOMAIN} {server} 2>&1"))
    };
    wait::until_within(PATIENCE, "through", || match list(&free, "TXT", GATEWAY) {
        said if said.contains("hidden") => Ok(()),
        said => Err(format!("{said}; {}", server.said())),
    });
    free.delete();

    let sandbox = policed(&daemon);
    carry(&daemon, &sandbox, DNS2TCP);
    let counters = counters(&world);
    std::thread::scope(|scope| {
        for server in &SERVERS[..3] {
            for kind in ["TXT", "KEY"] {
                let (list, sandbox) = (&list, &sandbox);
                scope.spawn(move || {
                    let said = list(sandbox, kind, server);
                    assert!(!said.is_empty() && !said.contains("Available connection"), "{said}");
                });
            }
        }
    });
    assert_eq!(counters.packets("everything"), 0);
    check_that_they_count(&sandbox, &counters);
}
