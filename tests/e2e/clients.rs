//! The official OpenSandbox clients against a real daemon; what they do is in `tests/clients`.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::{DEBIAN, Daemon, Namespace, World as Outside, Zone};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const SUITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

#[test]
fn official_python_clients() {
    let Some(world) = World::start("official_python_clients") else { return };
    let mut pytest = Command::new(clients().join("venv/bin/python"));
    pytest.args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", SUITE, SUITE]);
    // These need names and addresses outside.
    pytest.args(["--ignore", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/test_policy.py")]);
    world.check(pytest);
}

#[test]
fn official_python_client_sets_policies() {
    let Some(outside) = Outside::start("official_python_client_sets_policies") else { return };
    let _zone = Zone::start(&outside, "203.0.113.1", &[("a.example", &["93.184.216.34"]), ("b.example", &["8.8.8.8"])]);
    let daemon = outside.daemon("[network]\nmode = \"bridge\"\nresolvers = [\"203.0.113.1\"]\n");
    let world = World::of(daemon, Some(outside.host.clone()));
    let mut pytest = Command::new(clients().join("venv/bin/python"));
    pytest.args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", SUITE]);
    pytest.arg(format!("{SUITE}/test_policy.py"));
    world.check(pytest);
}

#[test]
fn official_javascript_client() {
    let Some(world) = World::start("official_javascript_client") else { return };
    // The packages are looked for beside the file.
    let suite = clients().join("sdk.test.mjs");
    fs::copy(format!("{SUITE}/sdk.test.mjs"), &suite).expect("copied");
    let own = clients().join("node_modules/.bin/node");
    let mut node = Command::new(if own.exists() { own.as_os_str() } else { OsStr::new("node") });
    node.arg("--test").arg(suite);
    world.check(node);
}

/// Where the clients are installed; done once for each list of versions.
fn clients() -> &'static PathBuf {
    static CLIENTS: OnceLock<PathBuf> = OnceLock::new();
    CLIENTS.get_or_init(|| {
        let wanted = ["requirements.txt", "package.json"].map(|name| format!("{SUITE}/{name}"));
        let wanted = wanted.map(|path| fs::read_to_string(path).expect("a list of versions")).concat();
        let version = wanted.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("clients-{version:x}"));
        if !path.join("complete").exists() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/clients.sh");
            let output = Command::new(script).arg(&path).output().expect("the script starts");
            assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        }
        path
    })
}

/// A daemon with a key and the image that the suites use.
struct World {
    daemon: Daemon,
    address: String,
    /// Where clients reach it.
    place: Option<Namespace>,
}

impl World {
    fn start(test: &str) -> Option<Self> {
        Some(Self::of(Daemon::start(test)?, None))
    }

    fn of(mut daemon: Daemon, place: Option<Namespace>) -> Self {
        daemon.import_debian();
        daemon.stop();
        // Free a moment ago; a daemon that cannot have it ends, and the test with it.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let address = format!("127.0.0.1:{port}");
        let keys = daemon.path("keys");
        fs::write(&keys, KEY).expect("written");
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).expect("closed to others");
        let mut command = daemon.command();
        command
            .args(["--listen", &daemon.address(), "--listen", &format!("tcp:{address}"), "--api-key-file"])
            .arg(keys);
        daemon.run(command);
        Self { daemon, address, place }
    }

    fn check(&self, mut suite: Command) {
        let suite = suite
            .env("BIVOUAC_TEST_TCP", &self.address)
            .env("BIVOUAC_TEST_KEY", KEY)
            .env("BIVOUAC_TEST_SOCKET", self.daemon.path("api.sock"))
            .env("BIVOUAC_TEST_IMAGE", DEBIAN);
        let mut run = || suite.output().expect("the suite starts");
        let output = match &self.place {
            Some(place) => place.run(run),
            None => run(),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
