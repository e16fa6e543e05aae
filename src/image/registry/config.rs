//! What an operator says about registries.

use std::path::PathBuf;
use std::time::Duration;

/// Which registries there are, how they are reached, and who may see credentials.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// The registry of names that name none.
    pub default_registry: String,
    /// Asked before the registry, in this order: the registry's host and where its mirror is (`host`, `host:port`, or with
    /// `http://` or `https://` before it).
    pub mirrors: Vec<(String, String)>,
    /// Hosts, with or without a port, that may be spoken to without TLS.
    pub insecure: Vec<String>,
    /// Hosts, with or without a port, that may have private addresses.
    pub private: Vec<String>,
    /// A registry and the host elsewhere that gives tokens for it.
    pub token_hosts: Vec<(String, String)>,
    /// PEM files of certificate authorities beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// Files of credentials, the first that knows a registry counts.
    pub auth_files: Vec<PathBuf>,
    pub patience: Patience,
}

/// How long a registry is waited for, and how often it is asked again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts in a row that may fail.
    pub tries: u32,
    /// The pause after the first; each next is twice as long.
    pub first_pause: Duration,
    /// The longest pause, also of those that the registry asks for.
    pub longest_pause: Duration,
    /// A connection or an answer's head that takes longer is given up.
    pub answer: Duration,
    /// Within this time at least `trickle` bytes of a blob must come; an attempt that brings less altogether has failed.
    pub window: Duration,
    pub trickle: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            answer: Duration::from_secs(30),
            window: Duration::from_secs(30),
            trickle: 128 << 10,
        }
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        Self {
            default_registry: "docker.io".to_owned(),
            mirrors: Vec::new(),
            insecure: Vec::new(),
            private: Vec::new(),
            // Docker Hub's tokens come from a sister of its registry.
            token_hosts: vec![("registry-1.docker.io".to_owned(), "auth.docker.io".to_owned())],
            ca_files: Vec::new(),
            auth_files: vec!["/etc/bivouac/auth.json".into(), home.join(".docker/config.json")],
            patience: Patience::default(),
        }
    }
}
