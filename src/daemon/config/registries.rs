//! The section `[registries]`: where images are pulled from.

use std::path::PathBuf;

use super::reader::Reader;
use crate::image::{Policy, RegistryConfig};

pub fn read(from: &mut Reader) -> RegistryConfig {
    let defaults = RegistryConfig::default();
    let mut token_hosts = defaults.token_hosts;
    token_hosts.extend(from.each("registries.token_hosts", pair).unwrap_or_default());
    RegistryConfig {
        default_registry: from.parsed("registries.default", host).unwrap_or(defaults.default_registry),
        mirrors: from.each("registries.mirrors", mirror).unwrap_or_default(),
        insecure: from.each("registries.insecure", host).unwrap_or_default(),
        private: from.each("registries.private", host).unwrap_or_default(),
        token_hosts,
        ca_files: from.each("registries.ca_files", path).unwrap_or_default(),
        auth_files: from.each("registries.auth_files", path).unwrap_or(defaults.auth_files),
        patience: defaults.patience,
    }
}

pub fn policy(from: &mut Reader) -> Policy {
    from.parsed("registries.pull_policy", str::parse).unwrap_or_default()
}

/// `host` or `host:port`.
fn host(text: &str) -> Result<String, String> {
    let (name, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    match !name.is_empty() && name.chars().all(plain) && port.parse::<u16>().is_ok() {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!("{text:?} is not a host or host:port")),
    }
}

/// `host=host`.
fn pair(text: &str) -> Result<(String, String), String> {
    let (from, to) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form registry=host"))?;
    Ok((host(from)?, host(to)?))
}

/// `host=place`, the place perhaps with a scheme.
fn mirror(text: &str) -> Result<(String, String), String> {
    let (from, to) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form registry=mirror"))?;
    let place = to.trim_end_matches('/');
    let bare = place.strip_prefix("https://").or_else(|| place.strip_prefix("http://")).unwrap_or(place);
    host(bare)?;
    Ok((host(from)?, place.to_owned()))
}

fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("{text:?} is not an absolute path")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_pairs_are_told_from_other_things() {
        assert_eq!(host("R.example:5000").as_deref(), Ok("r.example:5000"));
        for bad in ["", "a/b", "http://a", "a:port", "a b"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            mirror("docker.io=http://localhost:5000/"),
            Ok(("docker.io".into(), "http://localhost:5000".into()))
        );
        assert!(mirror("docker.io").is_err() && pair("a=b/c").is_err());
    }
}
