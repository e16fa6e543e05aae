//! A daemon for one test, and everything of it gone when the test is over.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::able::{able, cgroup_mounts, skip, unified};
use super::http::Client;
use super::image::{IMAGE, archive};
use super::oracle::Snapshot;
use super::volume::{Kind, Volume};
use super::wait::{tried, until};
use super::world::Namespace;

/// Short times, so that nobody waits for minutes: a sandbox may live a second, and is forgotten as soon as it is gone.
const CONFIG: &str = "[lifecycle]\nmin_timeout_seconds = 1\nterminated_retention_seconds = 1\n";

/// How many sandboxes the daemons of the tests keep prepared.
pub const PREPARED: usize = 4;

pub struct Daemon {
    /// What its state directory is on, when that is not what the others' are on. Unmounted before the directory goes.
    volume: Option<Volume>,
    dir: TempDir,
    /// The cgroup of this daemon's sandboxes: nobody else's sandboxes are in it.
    pub cgroup: String,
    pub client: Client,
    child: Option<Child>,
    /// Where it runs, when not with the test.
    namespace: Option<Namespace>,
}

impl Daemon {
    /// A running daemon with the image of the tests; `None` (and a line about it) where sandboxes cannot run.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "")
    }

    /// As [`start`](Self::start), with more lines of configuration; they begin in the section `[runtime]`. Without a section
    /// `[network]` there is no network.
    pub fn start_with(test: &str, config: &str) -> Option<Self> {
        if !able(test) {
            return None;
        }
        Some(Self::prepare(config).begin())
    }

    /// As [`start_with`](Self::start_with), with its state directory on a file system of this kind; `None` (and a line about it) also where
    /// the kernel has none.
    pub fn start_on(test: &str, kind: Kind, config: &str) -> Option<Self> {
        if !able(test) {
            return None;
        }
        let mut daemon = Self::prepare(config);
        fs::create_dir(daemon.state_dir()).expect("made");
        match Volume::mount(kind, &daemon.path("volume"), &daemon.state_dir()) {
            Ok(volume) => daemon.volume = Some(volume),
            Err(missing) => {
                skip(test, &missing);
                return None;
            }
        }
        Some(daemon.begin())
    }

    /// As [`start_with`](Self::start_with), in a network namespace of its own. The machine must be able to.
    pub fn start_within(namespace: &Namespace, config: &str) -> Self {
        let mut daemon = Self::prepare(config);
        daemon.namespace = Some(namespace.clone());
        daemon.begin()
    }

    fn begin(mut self) -> Self {
        self.launch();
        self.client.ask("POST", &format!("/v1/images/import?name={IMAGE}"), archive()).expect_success();
        self
    }

    fn prepare(config: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("bivouac-test-").tempdir().expect("a scratch directory");
        let cgroup = format!("bivouac-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // What a host without a word gives depends on the host.
        let network = if config.contains("[network]") { "" } else { "[network]\nmode = \"none\"\n" };
        let text =
            format!("{CONFIG}\n[runtime]\ncgroup_parent = \"{cgroup}\"\nprepared_slots = 4\n{config}\n{network}");
        fs::write(dir.path().join("config.toml"), text).expect("written");
        let client = Client::unix(&dir.path().join("api.sock"));
        Self { volume: None, dir, cgroup, client, child: None, namespace: None }
    }

    /// Starts the program again, on the same directories, and waits until it answers.
    pub fn launch(&mut self) {
        let mut command = self.command();
        command.args(["--listen", &self.address()]);
        self.run(command);
    }

    /// As [`launch`](Self::launch), from within a cgroup.
    pub fn launch_in(&mut self, cgroup: &Path) {
        let plain = self.command();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(cgroup);
        command.arg(plain.get_program()).args(plain.get_args()).args(["--listen", &self.address()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.run(command);
    }

    /// As [`launch`](Self::launch), listening where the configuration file says.
    pub fn launch_as_configured(&mut self) {
        let command = self.command();
        self.run(command);
    }

    /// Starts this command line of the daemon, and waits until it answers on its socket.
    pub fn run(&mut self, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.path("daemon.log")).expect("a log");
        let spawn = || command.stderr(log).spawn().expect("the daemon starts");
        self.child = Some(match &self.namespace {
            Some(namespace) => namespace.run(spawn),
            None => spawn(),
        });
        until("answering", || {
            if let Some(status) = self.ended() {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            let health = self.client.try_ask("GET", "/health", b"").map_err(|error| error.to_string())?;
            if health.status == 200 { Ok(()) } else { Err(health.to_string()) }
        });
    }

    /// The command line of this daemon, without an address, not started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
        // Named so that cargo builds it for these tests: the daemon looks for it beside itself.
        debug_assert!(Path::new(env!("CARGO_BIN_EXE_bivouac-init")).exists());
        command
            .args(["serve", "--log-level", "debug"])
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--run-dir")
            .arg(self.run_dir())
            .arg("--config")
            .arg(self.path("config.toml"))
            .env("BIVOUAC_RUNTIME_PREPARED_SLOTS", PREPARED.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Runs the command line against this daemon.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_command(arguments).output().expect("the command line starts")
    }

    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bivouac"));
        command.args(arguments).env("BIVOUAC_HOST", self.address()).stdin(Stdio::null());
        command
    }

    pub fn address(&self) -> String {
        format!("unix:{}", self.path("api.sock").display())
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pid(&self) -> i32 {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).expect("a running daemon")
    }

    /// The most memory that it has had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The end of what the daemon has logged.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("a child of ours"))
    }

    /// Kills the daemon where it stands; launcher and sandboxes stay.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    /// Asks the daemon to stop.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM)
    }

    fn signal(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().expect("a running daemon");
        kill(Pid::from_raw(i32::try_from(child.id()).expect("a pid")), signal).expect("a child of ours");
        child.wait().expect("a child of ours")
    }

    /// The processes of a sandbox, by their numbers on the host.
    pub fn processes(&self, id: &str) -> Vec<i32> {
        let cgroup = unified().expect("a cgroup2 mount").join(&self.cgroup).join(id);
        let mut all = Vec::new();
        for part in ["", "init", "workload"] {
            let procs = fs::read_to_string(cgroup.join(part).join("cgroup.procs")).unwrap_or_default();
            all.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        all.sort_unstable();
        all
    }

    /// What there is of this daemon on the host right now.
    pub fn snapshot(&self) -> Snapshot {
        let pids = self.child.is_some().then(|| self.pid());
        Snapshot::take(self.dir.path(), &self.cgroup, pids)
    }

    /// A look at the host once everything that is made beforehand is there: a first sandbox has come and gone.
    pub fn settled(&self) -> Snapshot {
        let first = self.create(&["true"]);
        self.client.get(&first.path("logs?follow=true")).expect_success();
        first.delete();
        let (mut last, mut equal) = (self.snapshot(), 0);
        until("settled", || {
            let now = self.snapshot();
            let changes = now.differences(&std::mem::replace(&mut last, now.clone()));
            // Between two of what is prepared there is a pause of some milliseconds.
            equal = if changes.is_empty() && now.sandboxes() == PREPARED { equal + 1 } else { 0 };
            if equal > 25 { Ok(now) } else { Err(format!("{} sandboxes, {changes:?}", now.sandboxes())) }
        })
    }

    /// Fails when, 5 s after the last sandbox, the host is not as it was.
    #[track_caller]
    pub fn check_left(&self, before: &Snapshot) {
        super::wait::until_within(Duration::from_secs(5), "as before", || {
            let changes = self.snapshot().differences(before);
            if changes.is_empty() { Ok(()) } else { Err(changes.join("\n")) }
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Past the capture, and only when somebody will want to read it.
            drop(std::io::Write::write_all(&mut std::io::stderr(), format!("{}\n", self.log()).as_bytes()));
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        for pid in super::oracle::programs_of(self.dir.path()) {
            // It may have ended since.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(mount) = unified() {
            // What is paused cannot end by itself; here it can be killed. Nothing is there when no sandbox was.
            drop(fs::write(mount.join(&self.cgroup).join("cgroup.kill"), "1"));
        }
        for (_, mount) in cgroup_mounts() {
            remove_cgroup(&mount.join(&self.cgroup));
        }
    }
}

/// Removes a cgroup with everything below, once its processes have gone.
fn remove_cgroup(dir: &Path) {
    if !dir.exists() {
        return;
    }
    let children = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    children.filter(|path| path.is_dir()).for_each(|path| remove_cgroup(&path));
    let removed = tried(Duration::from_secs(10), || match fs::remove_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    });
    if let Err(error) = removed {
        // A second panic would hide the first.
        assert!(std::thread::panicking(), "{} cannot be removed: {error}", dir.display());
    }
}
