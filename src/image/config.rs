//! What an image says about how it wants to be run: data for the inside of a sandbox, never for the host.

use std::collections::BTreeMap;

use oci_spec::image::{Config, ImageConfiguration};
use serde::{Deserialize, Serialize};

use super::{ImageError, UnpackLimits};

/// The config of an image. No string holds a NUL; nothing else was interpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    pub env: Vec<(String, String)>,
    /// As the image writes it: a name or number, perhaps with a group. Whoever starts the process resolves it inside.
    pub user: String,
    pub working_dir: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: String,
}

impl ImageConfig {
    /// For a root that came without one.
    #[must_use]
    pub fn for_plain_root() -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self { env: vec![("PATH".into(), path.into())], cmd: vec!["/bin/sh".into()], ..Self::default() }
    }

    pub(super) fn from_document(document: &ImageConfiguration, limits: &UnpackLimits) -> Result<Self, ImageError> {
        let empty = Config::default();
        let config = document.config().as_ref().unwrap_or(&empty);
        let parsed = Self {
            env: config.env().iter().flatten().filter_map(|entry| variable(entry)).collect(),
            user: config.user().clone().unwrap_or_default(),
            working_dir: config.working_dir().clone().unwrap_or_default(),
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            labels: config.labels().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
            stop_signal: config.stop_signal().clone().unwrap_or_default(),
        };
        parsed.check(limits)?;
        Ok(parsed)
    }

    fn check(&self, limits: &UnpackLimits) -> Result<(), ImageError> {
        let mut total = 0_usize;
        for text in self.strings() {
            if text.contains('\0') {
                return Err(ImageError::bad("the image's config", "a string in it holds a NUL"));
            }
            total = total.saturating_add(text.len());
        }
        if total > limits.config_strings_bytes {
            let limit = limits.config_strings_bytes as u64;
            return Err(ImageError::TooLarge { at: "the image's config".into(), what: "bytes of its strings", limit });
        }
        Ok(())
    }

    fn strings(&self) -> impl Iterator<Item = &String> {
        let pairs = self.env.iter().map(|(name, value)| (name, value)).chain(&self.labels);
        let lists = self.entrypoint.iter().chain(&self.cmd);
        let single = [&self.user, &self.working_dir, &self.stop_signal];
        pairs.flat_map(|(name, value)| [name, value]).chain(lists).chain(single)
    }
}

/// `NAME=value`; what has no name or no `=` is no variable, and is left out as Docker does.
fn variable(entry: &str) -> Option<(String, String)> {
    let (name, value) = entry.split_once('=')?;
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config: &str) -> Result<ImageConfig, ImageError> {
        let document = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        ImageConfig::from_document(&serde_json::from_str(&document).unwrap(), &UnpackLimits::default())
    }

    #[test]
    fn strings_are_carried_as_they_are() {
        let config = parse(
            r#"{"User":"4294967296:0x0","WorkingDir":"/proc/self/fd/7","Env":["A=b=c","=x","none","E="],
                "Entrypoint":null,"Cmd":["a","b"],"Volumes":{"/../../etc":{}},"Labels":{"k":"binary:///x"}}"#,
        )
        .unwrap();
        assert_eq!(config.user, "4294967296:0x0");
        assert_eq!(config.working_dir, "/proc/self/fd/7");
        assert_eq!(config.env, [("A".into(), "b=c".into()), ("E".into(), String::new())]);
        assert_eq!((config.entrypoint.len(), config.cmd.len()), (0, 2));
        assert_eq!(config.labels["k"], "binary:///x");
    }

    #[test]
    fn a_nul_and_a_megabyte_are_refused() {
        assert!(parse(r#"{"Env":["A=\u0000"]}"#).is_err());
        assert!(parse(r#"{"Labels":{"a\u0000":"b"}}"#).is_err());
        let huge = format!(r#"{{"User":"{}"}}"#, "x".repeat(1 << 20 | 1));
        assert!(matches!(parse(&huge), Err(ImageError::TooLarge { .. })));
    }
}
