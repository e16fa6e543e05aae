//! The configuration, from files, variables and flags.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::model::{NetworkBounds, NetworkOffer};

/// Loads from a file with `text`, these variables and these flags.
fn load(text: &str, variables: &[(&str, &str)], flags: &[(&'static str, &[&str])]) -> Result<Config, Vec<String>> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.toml");
    fs::write(&path, text).expect("written");
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags: Vec<(&'static str, Vec<String>)> =
        flags.iter().map(|(key, texts)| (*key, texts.iter().map(|text| (*text).to_owned()).collect())).collect();
    Config::load(Some(&path), |name| variables.get(name).cloned(), &flags).map_err(|invalid| invalid.problems)
}

fn listening(config: &Config) -> Vec<String> {
    config.listen.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = load("", &[], &[]).expect("valid");
    assert_eq!(listening(&config), ["unix:/run/bivouac/bivouac.sock"]);
    assert_eq!(config.state_dir, Path::new("/var/lib/bivouac"));
    assert_eq!(config.lifecycle.min_timeout, Duration::from_secs(60));
    assert_eq!(config.lifecycle.max_timeout, None);
    assert_eq!(
        config.default_limits,
        Limits { cpu_millis: Some(1000), memory_bytes: Some(2 << 30), pids: Some(4096), ..Limits::default() }
    );
    assert_eq!(config.unenforceable, Unenforceable::Accept);
    assert_eq!(config.max_connections, 1024);
    assert!(config.keys.is_empty() && config.go_first);
    assert!(matches!(&config.network, Wanted::Auto(network) if network.pool_v6.is_some()), "{:?}", config.network);
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let text = "[server]\nstate_dir = '/file'\nrun_dir = '/file'\nlog_level = 'debug'\nlisten = ['unix:/file/s']\n";
    let variables =
        [("BIVOUAC_STATE_DIR", "/env"), ("BIVOUAC_RUN_DIR", "/env"), ("BIVOUAC_LISTEN", "unix:/env/a, unix:/env/b")];
    let config = load(text, &variables, &[("server.run_dir", &["/flag"])]).expect("valid");
    assert_eq!(config.state_dir, Path::new("/env"));
    assert_eq!(config.run_dir, Path::new("/flag"));
    assert_eq!(config.log.level, tracing::level_filters::LevelFilter::DEBUG);
    assert_eq!(listening(&config), ["unix:/env/a", "unix:/env/b"]);
    let config = load(text, &variables, &[("server.listen", &["unix:/flag/a"])]).expect("valid");
    assert_eq!(listening(&config), ["unix:/flag/a"]);
}

#[test]
fn the_default_socket_is_in_the_run_directory() {
    let config = load("", &[], &[("server.run_dir", &["/elsewhere"])]).expect("valid");
    assert_eq!(listening(&config), ["unix:/elsewhere/bivouac.sock"]);
}

#[test]
fn every_kind_of_value_is_read() {
    let text = "[server]\npublic_host = 'example.com:8080/b'\nnames = ['box.example']\n[proxy]\nopen_ports = true\n\
                [lifecycle]\nmin_timeout_seconds = 1\nmax_timeout_seconds = 3600\nallow_shorter_expiration = true\n\
                [limits]\ndefault_cpu = 0.5\ndefault_memory = '512Mi'\ndefault_pids = 64\nunenforceable = 'refuse'\n\
                [logs]\nmax_bytes = 1048576\n[runtime]\nmin_free_disk = 0\nprepared_disks = 0\ngo_first = false\n[network]\nmode = 'none'\n";
    let config = load(text, &[("BIVOUAC_LIFECYCLE_TERMINATED_RETENTION_SECONDS", "5")], &[]).expect("valid");
    assert_eq!(
        config.lifecycle,
        LifecycleConfig {
            min_timeout: Duration::from_secs(1),
            max_timeout: Some(Duration::from_secs(3600)),
            max_limits: Limits::default(),
            network_bounds: NetworkBounds::default(),
            terminated_retention: Duration::from_secs(5),
            allow_shorter_expiration: true,
            network: NetworkOffer::default(),
        }
    );
    assert_eq!(
        config.default_limits,
        Limits { cpu_millis: Some(500), memory_bytes: Some(512 << 20), pids: Some(64), ..Limits::default() }
    );
    assert_eq!(config.unenforceable, Unenforceable::Refuse);
    assert_eq!((config.log_bytes, config.min_free_disk, config.prepared_disks), (1 << 20, 0, 0));
    assert!(!config.go_first);
    assert!(matches!(config.network, Wanted::Loopback(_)), "{:?}", config.network);
    assert_eq!(config.public_host.map(|host| host.to_string()).as_deref(), Some("example.com:8080/b"));
    assert!(config.open_ports && config.names == ["box.example"]);
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let text = "top = 1\n[server]\npublic_host = 'http://a'\nnames = ['a:80']\nlisten = ['unix:relative', 'nowhere']\nstate_dir = 'relative'\nlog_level = 'loud'\n\
                log_fromat = 'text'\ninsecure_no_auth = 'yes'\n[lifecycle]\nmin_timeout_seconds = -1\n[limits]\ndefault_memory = 'lots'\n";
    let variables = [("BIVOUAC_LIMITS_DEFAULT_PIDS", "many"), ("BIVOUAC_LOG_FORMAT", "xml")];
    let problems = load(text, &variables, &[]).expect_err("invalid").join("\n");
    for part in [
        "there is no key top",
        "server.public_host: \"http://a\" is not what an address can begin with",
        "server.names: \"a:80\" is not the name of a host",
        "\"unix:relative\" is not an address",
        "\"nowhere\" is not an address",
        "server.state_dir: \"relative\" is not an absolute path",
        "server.log_level: it must be error, warn",
        "there is no key server.log_fromat; did you mean server.log_format?",
        "server.insecure_no_auth: it must be true or false",
        "lifecycle.min_timeout_seconds: it must not be negative",
        "limits.default_memory: ",
        "BIVOUAC_LIMITS_DEFAULT_PIDS: it must be a whole number",
        "BIVOUAC_LOG_FORMAT: it must be text or json",
    ] {
        assert!(problems.contains(part), "{part:?} is not in:\n{problems}");
    }
}

#[test]
fn the_state_directory_is_found_without_the_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.toml");
    let found = |text: &str, variable: Option<&str>| {
        fs::write(&path, text).expect("written");
        let variable = variable.map(str::to_owned);
        state_dir(Some(&path), |name| variable.clone().filter(|_| name == "BIVOUAC_STATE_DIR"))
    };
    let file = "[server]\nstate_dir = '/file'\nlog_fromat = 'text'\n";
    assert_eq!(found(file, None).as_deref(), Ok(Path::new("/file")));
    assert_eq!(found(file, Some("/env")).as_deref(), Ok(Path::new("/env")));
    assert_eq!(found("", None).as_deref(), Ok(Path::new("/var/lib/bivouac")));
    let slip = found("[server]\nstate_dri = '/file'\n", None).expect_err("not said");
    assert!(slip.contains("did you mean server.state_dir?"), "{slip}");
    let absent = state_dir(Some(Path::new("/nonexistent/config.toml")), |_| None).expect_err("not there");
    assert!(absent.contains("/nonexistent/config.toml: No such file"), "{absent}");
}

#[test]
fn a_file_that_is_not_toml_says_where() {
    let problems = load("[server\n", &[], &[]).expect_err("invalid");
    assert!(problems.iter().any(|problem| problem.contains("line 1")), "{problems:?}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let refused = Config::load(Some(Path::new("/nonexistent/config.toml")), |_| None, &[]).expect_err("not there");
    assert!(refused.to_string().contains("/nonexistent/config.toml: No such file"), "{refused}");
}

#[test]
fn tcp_needs_a_key_or_the_word_that_none_is_wanted() {
    let tcp: &[(&'static str, &[&str])] = &[("server.listen", &["tcp:127.0.0.1:0"])];
    let problems = load("", &[], tcp).expect_err("no key");
    assert!(problems.join("").contains("--api-key-file FILE, or set BIVOUAC_API_KEY; --insecure-no-auth"));
    assert!(load("", &[("BIVOUAC_API_KEY", "")], tcp).is_err());
    assert!(load("", &[("BIVOUAC_INSECURE_NO_AUTH", "true")], tcp).is_ok());
    let config = load("", &[("BIVOUAC_API_KEY", "sesame-sesame-sesame")], tcp).expect("a key");
    assert!(!config.socket_requires_key, "the key is for the TCP listener");
    assert!(!format!("{config:?}").contains("sesame-sesame-sesame"));
}

#[test]
fn a_key_without_tcp_is_for_the_socket() {
    let config = load("", &[("BIVOUAC_API_KEY", "sesame-sesame-sesame")], &[]).expect("valid");
    assert!(config.socket_requires_key);
    let config = load("[server]\nsocket_requires_key = false", &[("BIVOUAC_API_KEY", "sesame-sesame-sesame")], &[])
        .expect("valid");
    assert!(!config.socket_requires_key);
}

#[test]
fn keys_come_from_a_file_and_the_environment_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("keys");
    fs::write(&path, "one-key-of-16-bytes\ntwo-key-of-16-bytes\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
    let name = path.display().to_string();
    let variables = [("BIVOUAC_API_KEY", "three-key-of-16-bytes"), ("BIVOUAC_API_KEY_FILE", name.as_str())];
    let config = load("", &variables, &[]).expect("valid");
    assert_eq!(config.keys.len(), 3);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
    let problems = load("", &variables, &[]).expect_err("too open");
    assert!(problems.join("").contains("chmod 600"), "{problems:?}");
}

#[test]
fn daemons_of_two_state_directories_have_two_cgroups() {
    let parent = |variables: &[(&str, &str)]| load("", variables, &[]).map(|config| config.cgroup_parent);
    assert_eq!(parent(&[]).as_deref(), Ok("bivouac"));
    let (a, b) = (parent(&[("BIVOUAC_STATE_DIR", "/a")]), parent(&[("BIVOUAC_STATE_DIR", "/b")]));
    assert!(a.as_ref().is_ok_and(|name| name.len() == "bivouac-".len() + 12), "{a:?}");
    assert_ne!(a, b);
    assert_eq!(parent(&[("BIVOUAC_STATE_DIR", "/a/")]), a);
    assert_eq!(parent(&[("BIVOUAC_RUNTIME_CGROUP_PARENT", "mine")]).as_deref(), Ok("mine"));
    assert!(parent(&[("BIVOUAC_RUNTIME_CGROUP_PARENT", "../up")]).is_err());
}

#[test]
fn maxima_bind_the_defaults_too() {
    let config = load("[limits]\nmax_cpu = '500m'\nmax_disk = '1Gi'\nmax_pids = 9000\n", &[], &[]).expect("valid");
    let most = Limits { cpu_millis: Some(500), disk_bytes: Some(1 << 30), pids: Some(9000), ..Limits::default() };
    assert_eq!(config.lifecycle.max_limits, most);
    assert_eq!(config.default_limits, Limits { memory_bytes: Some(2 << 30), pids: Some(4096), ..most });
    let problems = load("[limits]\nmax_pids = 10\ndefault_pids = 11\n", &[], &[]).expect_err("too many");
    assert!(problems[0].contains("limits.default_pids is 11, more than limits.max_pids, 10"), "{problems:?}");
}

#[test]
fn the_network_is_as_the_operator_decides() {
    let network = |text: &str| load(&format!("[network]\n{text}"), &[], &[]).map(|config| config.network);
    let bridge = network("mode = 'bridge'\npool_v4 = '10.9.0.0/24'\npool_v6 = 'none'\nmax_connections = 0\n");
    let Ok(Wanted::Bridge(config)) = bridge else { panic!("{bridge:?}") };
    assert_eq!((config.pool_v4.to_string().as_str(), config.pool_v6, config.connections), ("10.9.0.0/24", None, None));
    assert!(matches!(network("mode = 'auto'"), Ok(Wanted::Auto(_))));
    let allowed = |text: &str, variables: &[(&str, &str)]| {
        load(&format!("[network]\n{text}"), variables, &[]).map(|config| config.allow_host_network)
    };
    assert_eq!(allowed("", &[]), Ok(false));
    assert_eq!(allowed("allow_host = true", &[]), Ok(true));
    let open = [("BIVOUAC_LISTEN", "tcp:127.0.0.1:0"), ("BIVOUAC_INSECURE_NO_AUTH", "true")];
    let problems = allowed("allow_host = true", &open).expect_err("open to it");
    assert!(problems[0].starts_with("network.allow_host: ") && problems[0].contains("set an API key"), "{problems:?}");
    assert_eq!(allowed("allow_host = true", &[open[0], ("BIVOUAC_API_KEY", "sesame-sesame-sesame")]), Ok(true));
    let keyed = [open[0], ("BIVOUAC_API_KEY", "sesame-sesame-sesame"), ("BIVOUAC_PROXY_OPEN_PORTS", "true")];
    let problems = allowed("allow_host = true", &keyed).expect_err("open to it");
    assert!(
        problems[0].starts_with("network.allow_host: ") && problems[0].contains("proxy.open_ports"),
        "{problems:?}"
    );
    assert_eq!(allowed("allow_host = true", &keyed[1..]), Ok(true), "on the socket alone");
    let problems = network("mode = 'wifi'").expect_err("invalid");
    assert!(problems[0].ends_with("it must be auto, bridge or none"), "{problems:?}");
}
