//! From a tar stream to a directory of a sandbox: what is in it goes in one request, as it comes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tar::{Archive, EntryType};

use super::inside::{Found, Inside};
use super::multipart::Parts;
use super::operand::{Place, join};
use super::{Skipped, missing, refuse};
use crate::console::{Failure, stream};

/// Directories that are named at a time.
const BATCH: usize = 200;

/// Directories by their paths in the sandbox, and their modes.
type Directories = BTreeMap<String, u32>;

pub async fn unpack(inside: &Inside<'_>, to: &Place<String>, skipped: &Skipped) -> Result<(), Failure> {
    match inside.found(&to.path).await? {
        Found::Directory => {}
        Found::Nothing => return Err(missing(&to.path)),
        Found::File => return Err(refuse(format!("{} is no directory, and an archive goes into one", to.path))),
    }
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let (any, found) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Directories::new())));
    let body = {
        let (boundary, any, found) = (boundary.clone(), Arc::clone(&any), Arc::clone(&found));
        let (to, skipped) = (to.path.clone(), skipped.clone());
        stream::body(move |out| {
            let mut unpacking = Unpacking { to, skipped, any, directories: Directories::new() };
            let mut parts = Parts::new(out, &boundary);
            unpacking.send_all(io::stdin().lock(), &mut parts)?;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = unpacking.directories;
            parts.end()
        })
    };
    match inside.upload(body, &boundary, "copy an archive".to_owned()).await {
        // There was nothing but directories, and a body without parts is refused.
        Err(Failure::Refused { code, .. }) if code == "INVALID_FILE_METADATA" && !any.load(Ordering::Relaxed) => {}
        done => done?,
    }
    let found: Vec<_> =
        std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect();
    for batch in found.chunks(BATCH) {
        inside.make(batch).await?;
    }
    // The innermost first: one that may not be entered any more would hide them.
    let modes: Vec<_> = found.into_iter().rev().collect();
    for batch in modes.chunks(BATCH) {
        inside.change(batch).await?;
    }
    Ok(())
}

struct Unpacking {
    to: String,
    skipped: Skipped,
    /// Set once there is something in the body.
    any: Arc<AtomicBool>,
    directories: Directories,
}

impl Unpacking {
    fn send_all<W: Write>(&mut self, archive: impl Read, parts: &mut Parts<'_, W>) -> io::Result<()> {
        let mut archive = Archive::new(archive);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(path) = entry.path()?.to_str().and_then(|name| self.place(Path::new(name))) else {
                self.skipped.tell(&format!("{name:?} in the archive is no path below a directory, or not UTF-8"));
                continue;
            };
            // An archive of `.` begins with it; the target has its own mode.
            if path == self.to {
                continue;
            }
            let mode = entry.header().mode()? & 0o7777;
            match entry.header().entry_type() {
                EntryType::Directory => drop(self.directories.insert(path, mode)),
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    self.any.store(true, Ordering::Relaxed);
                    parts.file(&path, mode, &mut entry)?;
                }
                EntryType::Symlink => match entry.link_name()?.as_deref().and_then(Path::to_str) {
                    Some(target) => {
                        self.any.store(true, Ordering::Relaxed);
                        parts.link(&path, target)?;
                    }
                    None => self.skipped.tell(&format!("the link {name:?} leads to a path that is not UTF-8")),
                },
                EntryType::XGlobalHeader => {}
                EntryType::Link => {
                    self.skipped.tell(&format!("{name:?} is another name of a file in the archive (a hard link)"));
                }
                kind => self.skipped.tell(&format!("{name:?} is no file, directory or link ({kind:?})")),
            }
        }
        // Whoever writes it must not find the pipe closed.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
    }

    /// The target or below it, whatever the archive says.
    fn place(&self, name: &Path) -> Option<String> {
        let mut path = self.to.clone();
        for part in name.components() {
            match part {
                Component::Normal(part) => path = join(&path, part.to_str()?),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return None,
            }
        }
        Some(path).filter(|path| !path.contains('\0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |kind: EntryType, name: &str, content: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o4750);
            header.set_size(content.len() as u64);
            // As no well-meaning writer would.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            if kind == EntryType::Symlink {
                header.set_size(0);
                header.set_link_name(content).expect("a link");
            }
            header.set_cksum();
            let content = if kind == EntryType::Symlink { "" } else { content };
            archive.append(&header, content.as_bytes()).expect("added");
        };
        add(EntryType::Directory, "./", "");
        add(EntryType::Directory, "d/", "");
        add(EntryType::Regular, "./d/f", "content");
        add(EntryType::Regular, "/abs", "a");
        add(EntryType::Regular, "d/../../up", "evil");
        add(EntryType::Symlink, "l", "../t");
        add(EntryType::Fifo, "pipe", "");
        archive.into_inner().expect("an archive")
    }

    #[test]
    fn what_is_in_an_archive_goes_below_the_target() {
        let any = Arc::new(AtomicBool::new(false));
        let (to, skipped) = ("/to".to_owned(), Skipped::default());
        let mut unpacking = Unpacking { to, skipped, any, directories: Directories::new() };
        let mut body = Vec::new();
        let mut parts = Parts::new(&mut body, "between");
        unpacking.send_all(archive().as_slice(), &mut parts).expect("read");
        parts.end().expect("in memory");
        let body = String::from_utf8(body).expect("text");
        for part in
            ["\"/to/d/f\"", "content\r\n", "\"/to/abs\"", "\"path\":\"/to/l\",\"target\":\"../t\"", "\"mode\":4750"]
        {
            assert_eq!(body.matches(part).count().min(1), 1, "{part} in {body}");
        }
        assert!(!body.contains("evil"), "{body}");
        assert_eq!(unpacking.directories, Directories::from([("/to/d".to_owned(), 0o4750)]));
        assert_eq!((unpacking.skipped.count(), unpacking.any.load(Ordering::Relaxed)), (2, true));
    }

    #[test]
    fn what_is_no_archive_is_told() {
        let any = Arc::new(AtomicBool::new(false));
        let (to, skipped) = ("/to".to_owned(), Skipped::default());
        let mut unpacking = Unpacking { to, skipped, any, directories: Directories::new() };
        let mut parts = Parts::new(io::sink(), "between");
        assert!(unpacking.send_all([b'x'; 2000].as_slice(), &mut parts).is_err());
    }
}
