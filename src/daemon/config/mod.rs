//! The configuration: flags before environment before file before defaults, and every problem told at once.

mod images;
mod limits;
mod network;
mod reader;
mod registries;
mod settings;
mod values;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

use self::reader::Reader;
use self::values::Values;
use super::logging::{self, LogConfig, LogFormat};
use crate::api::PROXY_TIMEOUT;
use crate::api::access::PublicHost;
use crate::api::auth::{ApiKey, read_key_file};
use crate::console::Address;
use crate::image::{KeepPolicy, Policy, RegistryConfig};
use crate::model::{Limits, parse_memory, with_causes};
use crate::network::Wanted;
use crate::sandbox::LifecycleConfig;

/// Read when no other file is named; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/bivouac/config.toml";

const STATE_DIR: &str = "server.state_dir";
const DEFAULT_STATE_DIR: &str = "/var/lib/bivouac";

/// Everything that the daemon is told.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: Vec<Address>,
    /// Any of them lets in.
    pub keys: Vec<ApiKey>,
    pub insecure_no_auth: bool,
    /// Whether the keys are asked for on Unix sockets as well.
    pub socket_requires_key: bool,
    /// Connections of each listener.
    pub max_connections: usize,
    /// What clients call this server, where it is not what they call it when they ask.
    pub public_host: Option<PublicHost>,
    /// What clients may call this server besides, where no key is asked for.
    pub names: Vec<String>,
    /// Whether the ports of users' programs are open to everybody who reaches a listener.
    pub open_ports: bool,
    /// How long a program in a sandbox may take to begin its answer.
    pub proxy_timeout: Duration,
    /// Whether a program in a sandbox gets the `Authorization` of its clients.
    pub proxy_authorization: bool,
    /// Whether `/metrics` has series of each sandbox.
    pub sandbox_metrics: bool,
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    /// Name of the cgroup that holds the sandboxes, in each hierarchy.
    pub cgroup_parent: String,
    /// Namespaces that are kept ready for sandboxes to come.
    pub prepared_slots: usize,
    /// Bounded disks of the default size that are kept ready, and of all others together.
    pub prepared_disks: usize,
    /// Bytes of the state directory's file system that are kept free of new sandboxes.
    pub min_free_disk: u64,
    /// Whether the daemon takes more of the processors than is usual, where they are short.
    pub go_first: bool,
    /// Mount roots the way of kernels before 6.15.
    pub overlay_by_paths: bool,
    /// The network of sandboxes.
    pub network: Wanted,
    /// Whether sandboxes may ask for the host's own network.
    pub allow_host_network: bool,
    pub log: LogConfig,
    /// All but the network that there really is.
    pub lifecycle: LifecycleConfig,
    /// What a sandbox gets that asks for nothing.
    pub default_limits: Limits,
    pub unenforceable: Unenforceable,
    pub registries: RegistryConfig,
    /// Which images stay when nobody removes any.
    pub keep_images: KeepPolicy,
    /// When a create fetches its image.
    pub pull_policy: Policy,
    /// What is kept of a sandbox's output.
    pub log_bytes: u64,
}

/// What becomes of a limit that this host cannot enforce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unenforceable {
    /// The sandbox starts, and its status says so.
    #[default]
    Accept,
    /// The sandbox is not started.
    Refuse,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Error)]
pub struct InvalidConfig {
    pub problems: Vec<String>,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("understand the configuration:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl Config {
    /// Reads the file, the environment and the flags.
    ///
    /// # Errors
    /// With every problem that was found.
    pub fn load(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
        flags: &[(&'static str, Vec<String>)],
    ) -> Result<Self, InvalidConfig> {
        let mut values = gather(file, &variable);
        values.add_flags(flags);
        let mut reader = Reader::new(values);
        let config = Self::read(&mut reader, variable("BIVOUAC_API_KEY"));
        match reader.into_problems() {
            problems if problems.is_empty() => Ok(config),
            problems => Err(InvalidConfig { problems }),
        }
    }

    fn read(from: &mut Reader, key: Option<String>) -> Self {
        let run_dir = from.absolute("server.run_dir").unwrap_or_else(|| PathBuf::from("/run/bivouac"));
        let listen = from.each("server.listen", str::parse::<Address>);
        let listen = listen.unwrap_or_else(|| vec![Address::Unix(run_dir.join("bivouac.sock"))]);
        let keys = keys(from, key);
        let insecure_no_auth = from.switch("server.insecure_no_auth").unwrap_or(false);
        check_doors(from, &listen, &keys, insecure_no_auth);
        let state_dir = from.absolute(STATE_DIR).unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_DIR));
        let max_limits = limits::read(from, "max");
        let cgroup_parent = from.parsed("runtime.cgroup_parent", cgroup_name);
        let cgroup_parent = cgroup_parent.unwrap_or_else(|| own_cgroup(&state_dir));
        let network = network::read(from, &cgroup_parent);
        let open_ports = from.switch("proxy.open_ports").unwrap_or(false);
        let too_open = network::too_open(listen.iter().any(is_tcp), !keys.is_empty(), open_ports);
        let allow_host_network = network::allow_host(from, too_open);
        Self {
            // Keys without a TCP listener can only be meant for the socket.
            socket_requires_key: from.switch("server.socket_requires_key").unwrap_or(!listen.iter().any(is_tcp)),
            max_connections: count(from, "server.max_connections", 1024),
            public_host: from.parsed("server.public_host", str::parse::<PublicHost>),
            names: from.each("server.names", host_name).unwrap_or_default(),
            open_ports,
            proxy_timeout: proxy_timeout(from),
            proxy_authorization: from.switch("proxy.pass_authorization").unwrap_or(false),
            sandbox_metrics: from.switch("server.sandbox_metrics").unwrap_or(true),
            lifecycle: LifecycleConfig { max_limits, network_bounds: network.bounds(), ..lifecycle(from) },
            network,
            allow_host_network,
            cgroup_parent,
            prepared_slots: count(from, "runtime.prepared_slots", 32),
            prepared_disks: prepared_disks(from),
            min_free_disk: from.parsed("runtime.min_free_disk", min_free_disk).unwrap_or(256 << 20),
            go_first: from.switch("runtime.go_first").unwrap_or(true),
            overlay_by_paths: from.switch("runtime.overlay_by_paths").unwrap_or(false),
            log: log(from),
            default_limits: limits::defaults(from, &max_limits),
            unenforceable: from.parsed("limits.unenforceable", limits::unenforceable).unwrap_or_default(),
            registries: registries::read(from),
            keep_images: images::read(from),
            pull_policy: registries::policy(from),
            log_bytes: from.parsed("logs.max_bytes", log_bytes).unwrap_or(16 << 20),
            listen,
            keys,
            insecure_no_auth,
            state_dir,
            run_dir,
        }
    }

    /// Why no sandbox may have the host's network beside these doors.
    #[must_use]
    pub fn too_open_for_host_network(&self) -> Option<&'static str> {
        network::too_open(self.listen.iter().any(is_tcp), !self.keys.is_empty(), self.open_ports)
    }
}

/// Where a daemon without flags keeps its state, whatever is wrong with its other settings.
///
/// # Errors
/// When no setting says it, and with every problem that may be the reason.
pub fn state_dir(file: Option<&Path>, variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let mut reader = Reader::new(gather(file, &variable));
    let found = reader.absolute(STATE_DIR);
    found.map_or_else(
        || match reader.into_problems() {
            problems if problems.is_empty() => Ok(PathBuf::from(DEFAULT_STATE_DIR)),
            problems => Err(problems.join("; ")),
        },
        Ok,
    )
}

/// The network of a daemon without flags.
///
/// # Errors
/// With every problem for which it would not be sure.
pub fn network(file: Option<&Path>, variable: impl Fn(&str) -> Option<String>) -> Result<Wanted, String> {
    let mut reader = Reader::new(gather(file, &variable));
    let wanted = network::read(&mut reader, "bivouac");
    match reader.into_problems() {
        problems if problems.is_empty() => Ok(wanted),
        problems => Err(problems.join("; ")),
    }
}

/// What the file and the environment say.
fn gather(file: Option<&Path>, variable: &impl Fn(&str) -> Option<String>) -> Values {
    let mut values = Values::default();
    let named = file.map(Path::to_owned).or_else(|| variable("BIVOUAC_CONFIG").map(PathBuf::from));
    match read(named.as_deref()) {
        Ok((name, text)) => values.add_file(&name, &text),
        Err(problem) => values.problems.push(problem),
    }
    values.add_environment(variable);
    values
}

/// The text of the file and its name. The default file may be missing, a named one may not.
fn read(named: Option<&Path>) -> Result<(String, String), String> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Default::default()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn keys(from: &mut Reader, key: Option<String>) -> Vec<ApiKey> {
    let mut keys =
        from.parsed("server.api_key_file", |path| read_key_file(Path::new(path)).map_err(|error| with_causes(&error)));
    // An empty variable is an accident of some script: without this error it would pass for a key that was set.
    match key.map(|key| ApiKey::parse(key.trim())) {
        Some(Ok(key)) => keys.get_or_insert_default().push(key),
        Some(Err(problem)) => from.problem(format!("BIVOUAC_API_KEY: {problem}")),
        None => {}
    }
    keys.unwrap_or_default()
}

fn check_doors(from: &mut Reader, listen: &[Address], keys: &[ApiKey], insecure_no_auth: bool) {
    if listen.is_empty() {
        from.problem("server.listen: there must be at least one address");
    }
    if let Some(open) = listen.iter().find(|address| is_tcp(address))
        && keys.is_empty()
        && !insecure_no_auth
    {
        from.problem(format!(
            "listening on {open} needs an API key: write one to a file of mode 0600 (`openssl rand -hex 32` makes one) and \
             pass --api-key-file FILE, or set BIVOUAC_API_KEY; --insecure-no-auth goes without, and then everybody who can \
             connect can run programs on this host"
        ));
    }
}

fn is_tcp(address: &Address) -> bool {
    matches!(address, Address::Tcp(_))
}

fn log(from: &mut Reader) -> LogConfig {
    LogConfig {
        format: from.parsed("server.log_format", str::parse::<LogFormat>).unwrap_or_default(),
        level: from.parsed("server.log_level", logging::level).unwrap_or(tracing::level_filters::LevelFilter::INFO),
    }
}

fn lifecycle(from: &mut Reader) -> LifecycleConfig {
    let defaults = LifecycleConfig::default();
    let min_timeout = from.seconds("lifecycle.min_timeout_seconds").unwrap_or(defaults.min_timeout);
    let max_timeout = from.seconds("lifecycle.max_timeout_seconds");
    if max_timeout.is_some_and(|max| max < min_timeout) {
        from.problem("lifecycle.max_timeout_seconds is less than lifecycle.min_timeout_seconds");
    }
    LifecycleConfig {
        min_timeout,
        max_timeout,
        max_limits: defaults.max_limits,
        network_bounds: defaults.network_bounds,
        terminated_retention: from
            .seconds("lifecycle.terminated_retention_seconds")
            .unwrap_or(defaults.terminated_retention),
        allow_shorter_expiration: from
            .switch("lifecycle.allow_shorter_expiration")
            .unwrap_or(defaults.allow_shorter_expiration),
        network: defaults.network,
    }
}

fn proxy_timeout(from: &mut Reader) -> Duration {
    let timeout = from.seconds("proxy.timeout_seconds");
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        from.problem("proxy.timeout_seconds: it must be at least 1");
    }
    timeout.unwrap_or(PROXY_TIMEOUT)
}

fn count(from: &Reader, key: &str, default: usize) -> usize {
    from.number(key).map_or(default, |count| usize::try_from(count.clamp(1, 1 << 20)).unwrap_or(default))
}

/// Each has a loop device of the host.
fn prepared_disks(from: &mut Reader) -> usize {
    let count = from.number("runtime.prepared_disks").unwrap_or(8);
    if count > 256 {
        from.problem("runtime.prepared_disks: at most 256; each takes a loop device");
    }
    usize::try_from(count).unwrap_or_default()
}

fn host_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = !text.is_empty() && text.chars().all(plain);
    if is_name { Ok(text.to_owned()) } else { Err(format!("{text:?} is not the name of a host, without a port")) }
}

/// A name for one directory, and nothing else.
fn cgroup_name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("it must be the name of a cgroup: letters, digits, - and _")
    }
}

/// Each state directory has a cgroup of its own: what a daemon finds in its cgroup and not in its records, it removes, and
/// that must not be another daemon's sandboxes.
fn own_cgroup(state_dir: &Path) -> String {
    if state_dir == Path::new(DEFAULT_STATE_DIR) {
        return "bivouac".to_owned();
    }
    // `/srv/bivouac/` is `/srv/bivouac`.
    let plain: PathBuf = state_dir.components().collect();
    let digest = Sha256::digest(plain.as_os_str().as_encoded_bytes());
    let digits: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("bivouac-{digits}")
}

/// 0 keeps nothing free.
fn min_free_disk(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_memory(text).map_err(|error| error.to_string()) }
}

/// Less than a page of text a segment would lose more than it keeps.
fn log_bytes(text: &str) -> Result<u64, String> {
    match parse_memory(text) {
        Ok(bytes) if bytes < 64 << 10 => Err("it must be at least 64Ki".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
