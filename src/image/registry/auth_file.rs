//! The files that `docker login` and `skopeo login` write (`containers-auth.json(5)`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Credentials;

/// More than any such file has.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
}

/// What the first of the files says that knows the repository's registry. A file that is missing is passed over, one that
/// cannot be read is told of in the log. Blocks.
pub fn find(files: &[PathBuf], host: &str, repository: &str) -> Option<Credentials> {
    files.iter().filter_map(|path| read(path)).find_map(|file| file.find(host, repository))
}

fn read(path: &Path) -> Option<AuthFile> {
    let size = fs::metadata(path).ok()?.len();
    let problem = match fs::read(path) {
        _ if size > LARGEST => format!("it is larger than {LARGEST} bytes"),
        // The text of a JSON error could quote the file.
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(file) => return Some(file),
            Err(error) => format!("it is not the JSON expected (line {})", error.line()),
        },
        Err(error) => error.to_string(),
    };
    tracing::warn!(file = %path.display(), problem, "the credentials in this file are not used");
    None
}

impl AuthFile {
    /// The longest key that names the repository, one of its folders, or its registry.
    fn find(&self, host: &str, repository: &str) -> Option<Credentials> {
        let full = format!("{host}/{repository}");
        let covers = |key: &str| full == key || full.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        let fitting = self.auths.iter().filter(|(key, _)| covers(&plain(key)));
        fitting.max_by_key(|(key, _)| plain(key).len()).and_then(|(_, entry)| Credentials::decode(&entry.auth))
    }
}

/// Keys of older clients are URLs: `https://index.docker.io/v1/`.
fn plain(key: &str) -> String {
    let url = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let key = url.map_or(key, |rest| rest.split('/').next().unwrap_or(rest)).trim_end_matches('/');
    match key {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn file(keys: &[&str]) -> AuthFile {
        let entry = |key: &&str| {
            format!("{:?}:{{\"auth\":{:?}}}", key, STANDARD.encode(format!("{}:x", key.replace(':', "_"))))
        };
        let auths: Vec<_> = keys.iter().map(entry).collect();
        serde_json::from_str(&format!("{{\"auths\":{{{}}},\"credsStore\":\"x\"}}", auths.join(","))).expect("JSON")
    }

    fn user(key: &str) -> Option<Credentials> {
        Credentials::new(&key.replace(':', "_"), "x").ok()
    }

    #[test]
    fn a_registry_gets_its_own_credentials_only() {
        let file = file(&["https://index.docker.io/v1/", "ghcr.io", "quay.io/team", "localhost:5000"]);
        assert_eq!(file.find("docker.io", "library/debian"), user("https://index.docker.io/v1/"));
        assert_eq!(file.find("ghcr.io", "a/b"), user("ghcr.io"));
        assert_eq!(file.find("quay.io", "team/x"), user("quay.io/team"));
        assert_eq!(file.find("quay.io", "teamwork/x"), None);
        assert_eq!(file.find("localhost:5000", "x"), user("localhost:5000"));
        assert_eq!(file.find("localhost:5001", "x"), None);
        assert_eq!(file.find("ghcr.io.evil.example", "x"), None);
    }
}
