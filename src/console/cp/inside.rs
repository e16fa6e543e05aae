//! The files of one sandbox, through the file API of the daemon.

use std::collections::BTreeMap;

use hyper::body::Incoming;
use hyper::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operand::join;
use crate::console::client::{Body, Call, encoded};
use crate::console::{Client, Failure};

/// The most bytes of one directory's listing: some 300,000 entries.
const LISTING: usize = 64 << 20;
/// As many links as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

#[derive(Debug)]
pub struct Inside<'a> {
    pub client: &'a Client,
    /// The full id.
    pub id: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The octal digits, read as a decimal number.
    mode: u32,
    pub target: Option<String>,
    #[serde(default)]
    pub owner: String,
    #[serde(default)]
    pub group: String,
    #[serde(default)]
    pub modified_at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Other,
}

impl Entry {
    /// Permission bits. Those that raise privileges are not taken over from a sandbox.
    pub fn permissions(&self) -> u32 {
        u32::from_str_radix(&self.mode.to_string(), 8).unwrap_or(0o600) & 0o777
    }
}

/// What a path leads to, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Directory,
    File,
}

impl Inside<'_> {
    /// What is at a path, a link itself; `None` when nothing is.
    pub async fn look(&self, path: &str) -> Result<Option<Entry>, Failure> {
        let call = self.call(Method::GET, &format!("files/info?path={}", query(path)), format!("look at {path}"));
        match self.client.json::<BTreeMap<String, Entry>>(call).await {
            Ok(found) => Ok(found.into_values().next()),
            Err(failure) if is_missing(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    pub async fn found(&self, path: &str) -> Result<Found, Failure> {
        let kind = match self.look(path).await? {
            None => return Ok(Found::Nothing),
            Some(entry) => entry.kind,
        };
        // The parent of what a link leads to is there only if that is a directory.
        let leads_to_directory = async || {
            let parent = self.look(&join(path, "..")).await;
            parent.is_ok_and(|parent| parent.is_some())
        };
        match kind {
            Kind::Directory => Ok(Found::Directory),
            Kind::Symlink if leads_to_directory().await => Ok(Found::Directory),
            _ => Ok(Found::File),
        }
    }

    /// What a path leads to and where, links at its end followed. The sandbox resolves whatever it says of itself.
    pub async fn follow(&self, path: &str) -> Result<Option<(String, Entry)>, Failure> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let Some(entry) = self.look(&path).await? else { return Ok(None) };
            match entry.target {
                Some(target) if target.starts_with('/') => path = target,
                Some(target) => path = join(path.rsplit_once('/').map_or("/", |(parent, _)| parent), &target),
                None => return Ok(Some((path, entry))),
            }
            if !path.starts_with('/') {
                path.insert(0, '/');
            }
        }
        Err(Failure::Unusable { action: format!("look at {path}"), problem: "too many links".to_owned() })
    }

    /// What is in a directory.
    pub async fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        let rest = format!("directories/list?path={}&depth=1", query(path));
        self.client.json_within(self.call(Method::GET, &rest, format!("list {path}")), LISTING).await
    }

    /// The content of a file, as it comes.
    pub async fn download(&self, path: &str) -> Result<Response<Incoming>, Failure> {
        let rest = format!("files/download?path={}", query(path));
        self.client.answer(self.call(Method::GET, &rest, format!("read {path}"))).await
    }

    /// Takes a multipart body with this boundary.
    pub async fn upload(&self, body: Body, boundary: &str, action: String) -> Result<(), Failure> {
        let kind = format!("multipart/form-data; boundary={boundary}");
        self.client.sent(self.call(Method::POST, "files/upload", action), body, &kind).await
    }

    /// Makes directories with these permission bits; those that are there stay as they are.
    pub async fn make(&self, dirs: &[(String, u32)]) -> Result<(), Failure> {
        let call = self.call(Method::POST, "directories", "make directories".to_owned());
        self.client.done(call.with(by_path(dirs))).await
    }

    /// Sets permission bits.
    pub async fn change(&self, paths: &[(String, u32)]) -> Result<(), Failure> {
        let call = self.call(Method::POST, "files/permissions", "set modes".to_owned());
        self.client.done(call.with(by_path(paths))).await
    }

    fn call(&self, method: Method, rest: &str, action: String) -> Call {
        Call::new(method, format!("/v1/sandboxes/{}/proxy/44772/{rest}", self.id), action)
    }
}

/// Variables in a path are replaced by the API, and this is its plain `$`.
pub fn literal(path: &str) -> String {
    path.replace('$', "${$}")
}

fn query(path: &str) -> String {
    encoded(&literal(path))
}

fn by_path(paths: &[(String, u32)]) -> Value {
    paths.iter().map(|(path, mode)| (literal(path), json!({ "mode": digits(*mode) }))).collect()
}

/// 0o755 as 755. Zero would mean "as it comes"; the nearest to it lets nobody but the owner read.
pub fn digits(mode: u32) -> u32 {
    match mode & 0o7777 {
        0 => 400,
        mode => format!("{mode:o}").parse().unwrap_or(400),
    }
}

fn is_missing(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { status: 404, code, .. } if code == "FILE_NOT_FOUND")
}

/// Whether only this path is concerned, and others can still be copied.
pub fn is_of_one_path(failure: &Failure) -> bool {
    let codes = ["INVALID_FILE", "INVALID_REQUEST_BODY", "RUNTIME_ERROR"];
    let of_path = |status: u16, code: &str| matches!(status, 400 | 500) && codes.contains(&code);
    is_missing(failure) || matches!(failure, Failure::Refused { status, code, .. } if of_path(*status, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_go_both_ways_without_what_raises_privileges() {
        let entry = |mode: u32| -> Entry {
            serde_json::from_value(json!({ "path": "", "type": "file", "mode": mode })).expect("an entry")
        };
        assert_eq!((digits(0o755), digits(0o4750), digits(0)), (755, 4750, 400));
        assert_eq!(
            (entry(644).permissions(), entry(6755).permissions(), entry(999).permissions()),
            (0o644, 0o755, 0o600)
        );
    }

    #[test]
    fn a_dollar_stays_one() {
        assert_eq!(query("/a $b"), "%2Fa%20%24%7B%24%7Db");
        assert_eq!(by_path(&[("/$a".to_owned(), 0o700)]), json!({"/${$}a": {"mode": 700}}));
    }
}
