//! What there is to send of a directory of the host: the directories in it, and then what else is in each.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{OFlag, readlinkat};

use super::Skipped;
use super::multipart::Parts;
use super::operand::join;
use super::tree::Tree;
use crate::console::Failure;

#[derive(Debug)]
pub enum Source {
    /// What is no directory, and its path in the sandbox.
    One(PathBuf, String),
    Directories(Vec<Directory>),
}

#[derive(Debug, Clone)]
pub struct Directory {
    below: PathBuf,
    /// In the sandbox.
    pub path: String,
    pub mode: u32,
}

/// The directory itself, which will be at `path`, and all that are in it, each before its own.
pub fn directories(tree: &Tree, path: String, skipped: &Skipped) -> io::Result<Vec<Directory>> {
    let mode = |about: &Metadata| about.mode() & 0o7777;
    let mut found = vec![Directory { below: PathBuf::new(), path, mode: mode(&tree.look(Path::new(""))?) }];
    let mut at = 0;
    while let Some(dir) = found.get(at).cloned() {
        at += 1;
        let names = match tree.names(&dir.below) {
            Ok(names) => names,
            Err(error) => {
                skipped.fail(&unreadable(tree, &dir.below, error));
                continue;
            }
        };
        for name in names {
            let below = dir.below.join(&name);
            let Some(about) = tree.look(&below).ok().filter(Metadata::is_dir) else { continue };
            match name.to_str() {
                Some(name) => found.push(Directory { path: join(&dir.path, name), below, mode: mode(&about) }),
                None => not_text(tree, &below, skipped),
            }
        }
    }
    Ok(found)
}

/// Writes the multipart body of everything but directories. `any` is set once there is something in it.
pub fn send(
    tree: &Tree,
    source: &Source,
    out: impl Write,
    boundary: &str,
    skipped: &Skipped,
    any: &AtomicBool,
) -> io::Result<()> {
    let mut leaves = Leaves { tree, parts: Parts::new(out, boundary), skipped, any };
    match source {
        Source::One(below, path) => leaves.send(below, path)?,
        Source::Directories(dirs) => dirs.iter().try_for_each(|dir| leaves.send_all(dir))?,
    }
    leaves.parts.end()
}

struct Leaves<'a, W> {
    tree: &'a Tree,
    parts: Parts<'a, W>,
    skipped: &'a Skipped,
    any: &'a AtomicBool,
}

impl<W: Write> Leaves<'_, W> {
    fn send_all(&mut self, dir: &Directory) -> io::Result<()> {
        // One that cannot be read has been told of when directories were looked for.
        for name in self.tree.names(&dir.below).unwrap_or_default() {
            let below = dir.below.join(&name);
            if self.tree.look(&below).is_ok_and(|about| about.is_dir()) {
                continue;
            }
            match name.to_str() {
                Some(name) => self.send(&below, &join(&dir.path, name))?,
                None => not_text(self.tree, &below, self.skipped),
            }
        }
        Ok(())
    }

    /// What cannot be opened is passed over; an error is one of the whole body.
    fn send(&mut self, below: &Path, path: &str) -> io::Result<()> {
        let leaf = match open(self.tree, below) {
            Ok(leaf) => leaf,
            Err(error) => {
                self.skipped.fail(&unreadable(self.tree, below, error));
                return Ok(());
            }
        };
        self.any.store(true, Ordering::Relaxed);
        match leaf {
            Leaf::File(file, mode) => {
                let broken = |error| io::Error::other(unreadable(self.tree, below, error));
                self.parts.file(path, mode, file).map_err(broken)
            }
            Leaf::Link(target) => self.parts.link(path, &target),
        }
    }
}

enum Leaf {
    File(File, u32),
    Link(String),
}

/// Waits for nobody: a pipe or a device is not opened.
fn open(tree: &Tree, below: &Path) -> io::Result<Leaf> {
    let refuse = |problem| io::Error::new(io::ErrorKind::InvalidInput, problem);
    let about = tree.look(below)?;
    if about.is_symlink() {
        let target = readlinkat(tree.at(below, OFlag::O_PATH)?, OsStr::new(""))?;
        let target = target.into_string().map_err(|_| refuse("the link leads to a path that is not UTF-8"))?;
        return Ok(Leaf::Link(target));
    }
    if !about.is_file() {
        return Err(refuse("it is no file, directory or link"));
    }
    let file = tree.at(below, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
    let about = file.metadata()?;
    if about.is_file() { Ok(Leaf::File(file, about.mode() & 0o7777)) } else { Err(refuse("it is no file any more")) }
}

fn unreadable(tree: &Tree, below: &Path, source: io::Error) -> Failure {
    Failure::File { action: "copy", path: tree.shown(below), source }
}

fn not_text(tree: &Tree, below: &Path, skipped: &Skipped) {
    skipped.tell(&format!("the name of {} is not UTF-8", tree.shown(below).display()));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_but_what_cannot_be_sent_is_sent_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).expect("made");
        fs::write(at("a/b/file"), "content").expect("written");
        fs::write(dir.path().join(OsStr::from_bytes(b"\xff")), "x").expect("written");
        symlink("/etc", at("link")).expect("a link");
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let (tree, skipped, any) =
            (Tree::open(dir.path()).expect("opened"), Skipped::default(), AtomicBool::new(false));
        let dirs = directories(&tree, "/to".to_owned(), &skipped).expect("found");
        assert_eq!(dirs.iter().map(|dir| dir.path.as_str()).collect::<Vec<_>>(), ["/to", "/to/a", "/to/a/b"]);
        let mut body = Vec::new();
        send(&tree, &Source::Directories(dirs), &mut body, "between", &skipped, &any).expect("written");
        let body = String::from_utf8(body).expect("text");
        let named = |what: &str| body.matches(what).count();
        assert_eq!((named("\"/to/a/b/file\""), named("content\r\n"), named(r#""target":"/etc""#)), (1, 1, 1), "{body}");
        assert_eq!((named("metadata\"\r\n"), named("passwd"), skipped.count()), (2, 0, 2), "{body}");
    }
}
