//! Every setting: its key in the file, the variable of the environment that goes before it, and what kind of value it has.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// One or more texts; separated by spaces or commas in a variable.
    List,
    Switch,
    /// A whole number, not negative.
    Number,
    /// A number with a unit in a text (`2Gi`), or a plain number.
    Quantity,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// `section.key`
    pub key: &'static str,
    pub kind: Kind,
}

const fn setting(key: &'static str, kind: Kind) -> Setting {
    Setting { key, kind }
}

/// All of them.
pub const SETTINGS: &[Setting] = &[
    setting("server.listen", Kind::List),
    setting("server.api_key_file", Kind::Text),
    setting("server.insecure_no_auth", Kind::Switch),
    setting("server.socket_requires_key", Kind::Switch),
    setting("server.max_connections", Kind::Number),
    setting("server.public_host", Kind::Text),
    setting("server.names", Kind::List),
    setting("server.state_dir", Kind::Text),
    setting("server.run_dir", Kind::Text),
    setting("server.sandbox_metrics", Kind::Switch),
    setting("server.log_format", Kind::Text),
    setting("server.log_level", Kind::Text),
    setting("lifecycle.min_timeout_seconds", Kind::Number),
    setting("lifecycle.max_timeout_seconds", Kind::Number),
    setting("lifecycle.terminated_retention_seconds", Kind::Number),
    setting("lifecycle.allow_shorter_expiration", Kind::Switch),
    setting("limits.default_cpu", Kind::Quantity),
    setting("limits.default_cpu_weight", Kind::Number),
    setting("limits.default_memory", Kind::Quantity),
    setting("limits.default_pids", Kind::Number),
    setting("limits.default_io_read", Kind::Quantity),
    setting("limits.default_io_write", Kind::Quantity),
    setting("limits.default_disk", Kind::Quantity),
    setting("limits.default_inodes", Kind::Number),
    setting("limits.max_cpu", Kind::Quantity),
    setting("limits.max_cpu_weight", Kind::Number),
    setting("limits.max_memory", Kind::Quantity),
    setting("limits.max_pids", Kind::Number),
    setting("limits.max_io_read", Kind::Quantity),
    setting("limits.max_io_write", Kind::Quantity),
    setting("limits.max_disk", Kind::Quantity),
    setting("limits.max_inodes", Kind::Number),
    setting("limits.unenforceable", Kind::Text),
    setting("logs.max_bytes", Kind::Quantity),
    setting("registries.default", Kind::Text),
    setting("registries.mirrors", Kind::List),
    setting("registries.insecure", Kind::List),
    setting("registries.private", Kind::List),
    setting("registries.token_hosts", Kind::List),
    setting("registries.ca_files", Kind::List),
    setting("registries.auth_files", Kind::List),
    setting("registries.pull_policy", Kind::Text),
    setting("images.unused_for", Kind::Text),
    setting("images.min_free", Kind::Text),
    setting("proxy.open_ports", Kind::Switch),
    setting("proxy.timeout_seconds", Kind::Number),
    setting("proxy.pass_authorization", Kind::Switch),
    setting("network.mode", Kind::Text),
    setting("network.allow_host", Kind::Switch),
    setting("network.pool_v4", Kind::Text),
    setting("network.pool_v6", Kind::Text),
    setting("network.open", Kind::List),
    setting("network.resolvers", Kind::List),
    setting("network.enable_forwarding", Kind::Switch),
    setting("network.max_connections", Kind::Number),
    setting("network.max_bandwidth", Kind::Quantity),
    setting("runtime.cgroup_parent", Kind::Text),
    setting("runtime.prepared_slots", Kind::Number),
    setting("runtime.prepared_disks", Kind::Number),
    setting("runtime.min_free_disk", Kind::Quantity),
    setting("runtime.go_first", Kind::Switch),
    setting("runtime.overlay_by_paths", Kind::Switch),
];

impl Setting {
    /// `BIVOUAC_LISTEN` for `server.listen`, `BIVOUAC_LIMITS_DEFAULT_CPU` for `limits.default_cpu`.
    #[must_use]
    pub fn variable(&self) -> String {
        let name = self.key.strip_prefix("server.").unwrap_or(self.key);
        format!("BIVOUAC_{}", name.replace('.', "_").to_uppercase())
    }
}

/// The setting with this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// What the writer of an unknown key probably meant.
#[must_use]
pub fn nearest(key: &str) -> Option<&'static str> {
    // A key that is right but for its section is as near as one with a slip of the finger.
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness =
        |known: &str| strsim::jaro_winkler(known, key).max(strsim::jaro_winkler(&last(known), &last(key)) - 0.01);
    let best = SETTINGS.iter().max_by(|a, b| likeness(a.key).total_cmp(&likeness(b.key)))?;
    (likeness(best.key) > 0.8).then_some(best.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_keys() {
        let variable = |key| find(key).map(Setting::variable);
        assert_eq!(variable("server.listen").as_deref(), Some("BIVOUAC_LISTEN"));
        assert_eq!(variable("limits.default_cpu").as_deref(), Some("BIVOUAC_LIMITS_DEFAULT_CPU"));
        let mut names: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }

    #[test]
    fn unknown_keys_have_a_neighbour() {
        for (key, meant) in [
            ("server.listn", Some("server.listen")),
            ("server.min_timeout_seconds", Some("lifecycle.min_timeout_seconds")),
            ("limit.default_cpu", Some("limits.default_cpu")),
            ("zzzz.qqqq", None),
        ] {
            assert_eq!(nearest(key), meant, "{key}");
        }
    }
}
