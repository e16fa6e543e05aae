//! The names of images, as people type them.

use std::fmt;
use std::str::FromStr;

use super::{Digest, ImageError};

const DEFAULT_HOST: &str = "docker.io";
const DEFAULT_FOLDER: &str = "library";

/// The full name of an image: host, repository and tag, or the digest of a manifest in the place of the tag. Two spellings of
/// one name are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Version {
    Tag(String),
    Digest(Digest),
}

/// What a caller may write to point at an image that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    Name(Reference),
    /// `name@sha256:...`: that name, and only if it is that content.
    Pinned(Reference, Digest),
    /// `sha256:...`
    Digest(Digest),
}

impl Reference {
    /// `docker.io/library/debian:latest`: the one spelling that records carry.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("{}/{}{}", self.host, self.repository, self.version)
    }

    /// `debian:latest`: as Docker shows it.
    #[must_use]
    pub fn familiar(&self) -> String {
        let repository = match self.host.as_str() {
            DEFAULT_HOST => self.repository.strip_prefix("library/").unwrap_or(&self.repository).to_owned(),
            host => format!("{host}/{}", self.repository),
        };
        format!("{repository}{}", self.version)
    }

    /// The host of its registry, with the port if it names one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// `None` if it is named by a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// `None` if it is named by a tag.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self.version {
            Version::Tag(_) => None,
            Version::Digest(digest) => Some(digest),
        }
    }

    /// Reads `text`; where it names no registry, `registry` is meant.
    ///
    /// # Errors
    /// As [`from_str`](FromStr::from_str).
    pub fn read(text: &str, registry: &str) -> Result<Self, ImageError> {
        let is_short = split_host(text.split('@').next().unwrap_or(text)).0 == DEFAULT_HOST && !names_default(text);
        if is_short && registry != DEFAULT_HOST { format!("{registry}/{text}").parse() } else { text.parse() }
    }
}

fn names_default(text: &str) -> bool {
    text.starts_with("docker.io/") || text.starts_with("index.docker.io/")
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem| ImageError::InvalidName { name: text.chars().take(300).collect(), problem };
        if text.len() > 400 {
            return Err(fail("it is longer than 400 characters"));
        }
        let (text, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse().map_err(|_| fail("what follows the @ is not sha256: and 64 digits"))?))
            }
            None => (text, None),
        };
        let (path, tag) = split_tag(text);
        let (host, rest) = split_host(path);
        let repository = match (host, rest.contains('/')) {
            (DEFAULT_HOST, false) => format!("{DEFAULT_FOLDER}/{rest}"),
            _ => rest.to_owned(),
        };
        if !is_host(host) {
            return Err(fail("the registry before the first slash is not a host name"));
        }
        if !repository.split('/').all(is_component) {
            return Err(fail("it must be lower-case letters and digits, separated by one of . _ - or a slash"));
        }
        if !is_tag(tag) {
            return Err(fail("the tag after the colon must be letters, digits, . _ - and at most 128 of them"));
        }
        // As Docker has it: where both are given, the digest is what counts.
        let version = digest.map_or_else(|| Version::Tag(tag.to_owned()), Version::Digest);
        Ok(Self { host: host.to_owned(), repository, version })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl FromStr for Query {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("sha256:") && text.len() > 64 {
            return Ok(Self::Digest(text.parse()?));
        }
        match text.split_once('@') {
            Some((name, digest)) => Ok(Self::Pinned(name.parse()?, digest.parse()?)),
            None => Ok(Self::Name(text.parse()?)),
        }
    }
}

/// The colon of a tag comes after the last slash; an earlier one belongs to a port.
fn split_tag(text: &str) -> (&str, &str) {
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (text, "latest"),
    }
}

/// The first component is a host if nothing else can look like it (Docker's rule).
fn split_host(path: &str) -> (&str, &str) {
    match path.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_HOST, rest),
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_HOST, path),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label) && port.parse::<u16>().is_ok()
}

/// Runs of letters and digits, joined by one dot, one or two underscores, or any number of hyphens.
fn is_component(text: &str) -> bool {
    let separator = |run: &str| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    let is_word = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.starts_with(is_word)
        && text.ends_with(is_word)
        && text.split(is_word).all(|run| run.is_empty() || separator(run))
}

fn is_tag(tag: &str) -> bool {
    let first = tag.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && tag.len() <= 128 && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Reference>().unwrap().canonical()
    }

    #[test]
    fn every_spelling_is_one_name() {
        for spelling in
            ["debian", "debian:latest", "library/debian", "docker.io/debian", "docker.io/library/debian:latest"]
        {
            assert_eq!(canonical(spelling), "docker.io/library/debian:latest", "{spelling}");
        }
        assert_eq!(canonical("bivouac/base"), "docker.io/bivouac/base:latest");
        assert_eq!(canonical("localhost/a"), "localhost/a:latest");
        assert_eq!(canonical("localhost:5000/a/b:1.2"), "localhost:5000/a/b:1.2");
        assert_eq!(canonical("ghcr.io/a__b/c-d.e:V_1"), "ghcr.io/a__b/c-d.e:V_1");
    }

    #[test]
    fn is_shown_in_the_short_form() {
        for (text, shown) in [
            ("docker.io/library/debian", "debian:latest"),
            ("bivouac/base:latest", "bivouac/base:latest"),
            ("ghcr.io/library/x:1", "ghcr.io/library/x:1"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), shown);
        }
    }

    #[test]
    fn refuses_what_is_no_name() {
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "../x",
            "a/../b",
            "A",
            "a b",
            "a:",
            ":a",
            "a:b:c",
            "a@b",
            "a\0b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "é",
            "x:/y",
            "a.b:99999/c",
            "a.b:/c",
            "a:\u{202e}b",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(401).parse::<Reference>().is_err());
    }

    #[test]
    fn a_name_may_be_a_digest_and_the_registry_another() {
        let digest = Digest::of(b"x");
        let pinned = format!("debian:12@{digest}").parse::<Reference>().unwrap();
        assert_eq!(pinned.canonical(), format!("docker.io/library/debian@{digest}"));
        assert_eq!((pinned.tag(), pinned.digest()), (None, Some(digest)));
        assert_eq!(pinned.familiar().parse::<Reference>().unwrap(), pinned);
        let read = |text| Reference::read(text, "quay.io").unwrap().canonical();
        assert_eq!(read("a/b"), "quay.io/a/b:latest");
        assert_eq!(read("docker.io/b"), "docker.io/library/b:latest");
        assert_eq!(read("localhost:5000/b:1"), "localhost:5000/b:1");
        assert_eq!(Reference::read("b", "docker.io").unwrap().canonical(), "docker.io/library/b:latest");
    }

    #[test]
    fn a_query_may_pin_the_content() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Query>().unwrap(), Query::Digest(digest));
        let pinned = format!("debian@{digest}").parse::<Query>().unwrap();
        assert_eq!(pinned, Query::Pinned("debian".parse().unwrap(), digest));
        assert!("debian@sha256:..".parse::<Query>().is_err());
    }
}
