//! A regular file to be written.
//!
//! What is written goes to a new file beside the old one, which takes its place once it is complete: whoever reads
//! meanwhile reads the old content, and a transfer that breaks off changes nothing. Owner and mode of the old file are
//! kept, a link is followed, and a program that is running can be replaced. Where that cannot be (a directory that may not be
//! written, an owner that may not be given, a file with several names), the old file is written itself.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::answer::Answer;
use super::change::Ids;
use super::failure::{Named, Outcome, failure};
use super::open::check;
use super::path::{self, Spot};
use crate::proto::{FileFailureKind, Permission};
use crate::sys;

/// Of a new file for which no mode is given.
const NEW_FILE: u32 = 0o644;
/// Bits that a file keeps when its content is replaced: those that raise privileges must be asked for.
const KEPT: u32 = 0o777;

/// What is being written, and where it will be. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Pending {
    file: File,
    ids: Ids,
    /// For what failures say.
    path: PathBuf,
    /// Until it has taken its place.
    aside: Option<Aside>,
}

/// A file beside the one that it will replace.
#[derive(Debug)]
struct Aside {
    dir: File,
    /// What it is called until then.
    own: String,
    name: OsString,
    /// The file that is there, open for writing if that can be.
    old: Option<File>,
}

/// Directories on the way are made. Without `in_place`, a file that cannot be replaced is refused.
pub fn begin(path: &Path, permission: &Permission, in_place: bool) -> Outcome<(Pending, Answer)> {
    let ids = Ids::of(permission)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).named("make the directory", parent)?;
    }
    let spot = Spot::followed(path)?;
    if sys::is_of_kernel(spot.dir.as_fd()) {
        let message = format!("{} is a file of the kernel", path.display());
        return Err(failure(FileFailureKind::NotAFile, message));
    }
    let pending = match old(&spot)? {
        Old::None => beside(spot, ids, None).map_err(|(_, failure)| failure)?,
        Old::File(file, about) => replacing(spot, ids, (file, &about), in_place)?,
    };
    let file = pending.file.try_clone().named("open", path)?;
    Ok((pending, Answer::opened(path.to_string_lossy().into_owned(), file)))
}

enum Old {
    None,
    /// Open for writing, unless it is a program that runs.
    File(Option<File>, Metadata),
}

fn old(spot: &Spot) -> Outcome<Old> {
    let open =
        |flags| openat(&spot.dir, spot.name.as_os_str(), flags | OFlag::O_CLOEXEC, Mode::empty()).map(File::from);
    let seen = match open(OFlag::O_PATH | OFlag::O_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(Old::None),
        seen => seen.named("open", &spot.path)?,
    };
    let about = seen.metadata().named("look at", &spot.path)?;
    check(&seen, &spot.path)?;
    match open(OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY) {
        Err(Errno::ETXTBSY) => Ok(Old::File(None, about)),
        file => file.named("open", &spot.path).map(|file| Old::File(Some(file), about)),
    }
}

fn replacing(spot: Spot, ids: Ids, (old, about): (Option<File>, &Metadata), allowed: bool) -> Outcome<Pending> {
    let Some(file) = old else { return beside(spot, kept(ids, about), None).map_err(|(_, failure)| failure) };
    // Whoever writes a file takes away what would raise privileges, and the daemon is not stopped by that rule.
    let raised = (about.mode() & 0o7777 != about.mode() & KEPT).then_some(about.mode() & KEPT);
    let own_ids = Ids { mode: ids.mode.or(raised), ..ids };
    if about.nlink() > 1 && allowed {
        return in_place(file, own_ids, spot.path);
    } else if about.nlink() > 1 {
        let message = format!("{} has several names, and its content cannot be replaced at once", spot.path.display());
        return Err(failure(FileFailureKind::Other, message));
    }
    beside(spot, kept(ids, about), Some(file)).or_else(|(returned, failure)| match returned {
        Some((file, path)) if allowed => in_place(file, own_ids, path),
        _ => Err(failure),
    })
}

fn kept(ids: Ids, about: &Metadata) -> Ids {
    Ids {
        user: ids.user.or(Some(about.uid())),
        group: ids.group.or(Some(about.gid())),
        mode: ids.mode.or(Some(about.mode() & KEPT)),
    }
}

fn in_place(file: File, ids: Ids, path: PathBuf) -> Outcome<Pending> {
    // It may be another file by now than the one that was looked at.
    check(&file, &path)?;
    // Before anything is lost: it may not be allowed.
    Ids { mode: None, ..ids }.apply(&file).named("change the owner of", &path)?;
    file.set_len(0).named("empty", &path)?;
    Ok(Pending { file, ids, path, aside: None })
}

type Returned = Option<(File, PathBuf)>;

/// Gives the old file back when there can be no other beside it.
fn beside(spot: Spot, ids: Ids, old: Option<File>) -> Result<Pending, (Returned, crate::proto::FileFailure)> {
    let Spot { dir, name, path } = spot;
    let own = format!(".bivouac-{}-{:x}", std::process::id(), sys::boot_nanos());
    let file = match path::create(&dir, &own).named("create a file beside", &path) {
        Ok(file) => file,
        Err(failure) => return Err((old.map(|old| (old, path)), failure)),
    };
    let ids = Ids { mode: ids.mode.or(Some(NEW_FILE)), ..ids };
    let owner = Ids { mode: None, ..ids }.apply(&file).named("change the owner of", &path);
    let mut pending = Pending { file, ids, path, aside: Some(Aside { dir, own, name, old }) };
    match owner {
        Ok(()) => Ok(pending),
        Err(failure) => {
            let old = pending.aside.as_mut().and_then(|aside| aside.old.take());
            Err((old.map(|old| (old, pending.path.clone())), failure))
        }
    }
}

impl Pending {
    /// What was written takes its place.
    pub fn keep(mut self) -> Outcome<()> {
        self.ids.apply(&self.file).named("change owner or mode of", &self.path)?;
        let Some(aside) = &self.aside else { return Ok(()) };
        let (own, name) = (aside.own.as_str(), aside.name.as_os_str());
        match (renameat2(&aside.dir, own, &aside.dir, name, RenameFlags::empty()), &aside.old) {
            // Something is mounted on the file, as on /etc/hosts: its content is replaced.
            (Err(Errno::EBUSY), Some(old)) => aside.pour_into(old).named("write", &self.path),
            (renamed, _) => {
                renamed.named("put in place", &self.path)?;
                self.aside = None;
                Ok(())
            }
        }
    }
}

impl Aside {
    fn pour_into(&self, mut old: &File) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut own = File::from(openat(&self.dir, self.own.as_str(), flags, Mode::empty())?);
        old.set_len(0)?;
        io::copy(&mut own, &mut old).map(drop)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // When it has taken its place, nothing has this name.
        let _ = unlinkat(&self.dir, self.own.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}
