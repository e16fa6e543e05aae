//! The two operands: which of them is in a sandbox, and what the end of its path asks for.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use thiserror::Error;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    Host(Place<PathBuf>),
    /// In the sandbox that is named; the path is absolute.
    Inside(String, Place<String>),
    /// `-`: a tar archive, from standard input or to standard output.
    Stream,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<P> {
    pub path: P,
    pub ending: Ending,
}

/// How a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Name,
    /// With a slash: a directory is meant.
    Slash,
    /// With `.` or `..`, or it is the root: what is in the directory is meant.
    Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidOperand {
    #[error("a path is missing; give a path of the host, or ID:PATH")]
    NoPath,
    #[error("there is no sandbox before the colon; a file of the host with such a name is ./NAME")]
    NoSandbox,
    #[error("a path in a sandbox must be UTF-8 without NUL bytes")]
    NotText,
}

impl Operand {
    /// As docker cp decides: `ID:PATH` is in a sandbox, unless a slash comes before the colon or a dot begins it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(text: OsString) -> Result<Self, InvalidOperand> {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':').filter(|_| !bytes.starts_with(b"."));
        let Some((sandbox, path)) = colon.map(|at| (&bytes[..at], &bytes[at + 1..])) else { return host(text) };
        if sandbox.contains(&b'/') {
            return host(text);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| InvalidOperand::NotText);
        match (text(sandbox)?, text(path)?) {
            (sandbox, _) if sandbox.is_empty() => Err(InvalidOperand::NoSandbox),
            (_, path) if path.is_empty() => Err(InvalidOperand::NoPath),
            (_, path) if path.contains('\0') => Err(InvalidOperand::NotText),
            (sandbox, path) => {
                Ok(Self::Inside(sandbox, Place { path: absolute(&path), ending: ending(path.as_bytes()) }))
            }
        }
    }
}

fn host(text: OsString) -> Result<Operand, InvalidOperand> {
    match text.as_bytes() {
        b"" => Err(InvalidOperand::NoPath),
        b"-" => Ok(Operand::Stream),
        bytes => {
            Ok(Operand::Host(Place { ending: ending(bytes), path: PathBuf::from(OsString::from_vec(bytes.to_vec())) }))
        }
    }
}

fn ending(path: &[u8]) -> Ending {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let (trimmed, slashes) = path.split_at(end);
    match trimmed.rsplit(|byte| *byte == b'/').next() {
        Some(b"" | b"." | b"..") | None => Ending::Content,
        Some(_) if slashes.is_empty() => Ending::Name,
        Some(_) => Ending::Slash,
    }
}

/// From the root, without empty parts and `.`; `..` stays for the sandbox to resolve.
fn absolute(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

impl Place<String> {
    /// The last part; none when the ending is [`Ending::Content`].
    pub fn name(&self) -> Option<&str> {
        self.path.rsplit('/').next().filter(|name| !name.is_empty() && *name != "..")
    }
}

/// What `name` is called in a directory.
pub fn join(dir: &str, name: &str) -> String {
    match (dir, name) {
        (dir, "") => dir.to_owned(),
        ("", name) => name.to_owned(),
        (dir, name) => format!("{}/{name}", dir.trim_end_matches('/')),
    }
}

/// The name of an entry of the directory `dir`, as a sandbox tells its path. A sandbox may tell anything: what is not a
/// single name in that directory is none.
pub fn child<'a>(dir: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(dir)?;
    let name = if dir.ends_with('/') { rest } else { rest.strip_prefix('/')? };
    let plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_after_a_name_leads_into_a_sandbox() {
        let inside = |text: &str| match Operand::of(text.into()) {
            Ok(Operand::Inside(sandbox, place)) => Some((sandbox, place.path, place.ending)),
            Ok(Operand::Host(_) | Operand::Stream) => None,
            Err(error) => panic!("{text}: {error}"),
        };
        let told = |sandbox: &str, path: &str, ending| Some((sandbox.to_owned(), path.to_owned(), ending));
        assert_eq!(inside("web:/etc/motd"), told("web", "/etc/motd", Ending::Name));
        assert_eq!(inside("0b5e:etc//./x/"), told("0b5e", "/etc/x", Ending::Slash));
        assert_eq!(inside("web:/a/."), told("web", "/a", Ending::Content));
        assert_eq!(inside("web:/a/.."), told("web", "/a/..", Ending::Content));
        assert_eq!(inside("web:/"), told("web", "/", Ending::Content));
        assert_eq!(inside("web:a:b"), told("web", "/a:b", Ending::Name));
        assert_eq!(Operand::of("-".into()), Ok(Operand::Stream));
        for host in ["./a:b", "/a:b", "dir/a:b", ".:b", "..:b", "plain", ".", "./-"] {
            assert_eq!(inside(host), None, "{host}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for (text, error) in [
            ("", InvalidOperand::NoPath),
            ("web:", InvalidOperand::NoPath),
            (":/a", InvalidOperand::NoSandbox),
            ("web:a\0b", InvalidOperand::NotText),
        ] {
            assert_eq!(Operand::of(text.into()), Err(error), "{text:?}");
        }
        assert_eq!(Operand::of(OsString::from_vec(b"web:\xff".to_vec())), Err(InvalidOperand::NotText));
        assert!(Operand::of(OsString::from_vec(b"./\xff".to_vec())).is_ok(), "the host has names of any bytes");
    }

    #[test]
    fn a_listing_names_only_what_is_in_its_directory() {
        assert_eq!(child("/a", "/a/b"), Some("b"));
        assert_eq!(child("/", "/b"), Some("b"));
        assert_eq!(child("/a/..", "/a/../b c"), Some("b c"));
        for path in [
            "/a", "/a/", "/a/.", "/a/..", "/a/../b", "/a/b/c", "/ab", "/b", "b", "", "/a//b", "/a/b\0c", "../a/b",
            "/a/b/",
        ] {
            assert_eq!(child("/a", path), None, "{path:?}");
        }
        assert_eq!((child("/", "//b"), child("/", "/..")), (None, None));
    }
}
