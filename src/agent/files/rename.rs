//! Moving.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown, lchown, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, renameat2};

use super::failure::{Named, Outcome, failure};
use super::path::{self, Spot};
use super::remove;
use crate::proto::FileFailureKind;

/// What is there already is never replaced.
pub fn rename(from: &Path, to: &Path) -> Outcome<()> {
    fs::symlink_metadata(from).named("look at", from)?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).named("make the directory", parent)?;
    }
    let (source, target) = (Spot::of(from)?, Spot::of(to)?);
    let (source_name, target_name) = (source.name.as_os_str(), target.name.as_os_str());
    let flags = RenameFlags::RENAME_NOREPLACE;
    match renameat2(&source.dir, source_name, &target.dir, target_name, flags) {
        Err(Errno::EEXIST) => Err(failure(FileFailureKind::Exists, format!("{} exists already", to.display()))),
        // Another file system; or a directory of the image, which the overlay does not move.
        Err(Errno::EXDEV) => move_by_copy(from, to),
        other => other.named("move", from),
    }
}

fn move_by_copy(from: &Path, to: &Path) -> Outcome<()> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(failure(FileFailureKind::Exists, format!("{} exists already", to.display())));
    }
    match copy(from, to) {
        Ok(()) => remove::tree(from),
        Err(failure) => {
            // A part would be taken for the whole.
            remove::tree(to).unwrap_or(());
            Err(failure)
        }
    }
}

/// With owners, modes and times, as `mv` does between file systems.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let about = fs::symlink_metadata(from).named("look at", from)?;
    let copied = if about.is_symlink() {
        let target = fs::read_link(from).named("read the link", from)?;
        symlink(target, to).named("make the link", to)?;
        return lchown(to, Some(about.uid()), Some(about.gid())).named("change the owner of", to);
    } else if about.is_dir() {
        fs::create_dir(to).named("make the directory", to)?;
        for entry in fs::read_dir(from).named("list", from)? {
            let name = entry.named("list", from)?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        File::open(to).named("open", to)?
    } else if about.is_file() {
        let mut source = path::open(from, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY)
            .named("open", from)?;
        let mut target = File::create_new(to).named("create", to)?;
        std::io::copy(&mut source, &mut target).named("copy", from)?;
        target
    } else {
        let message = format!("{} is a device, FIFO or socket, and cannot be copied", from.display());
        return Err(failure(FileFailureKind::NotAFile, message));
    };
    fchown(&copied, Some(about.uid()), Some(about.gid())).named("change the owner of", to)?;
    copied.set_permissions(fs::Permissions::from_mode(about.mode() & 0o7777)).named("change the mode of", to)?;
    let modified = about.modified().named("look at", from)?;
    copied.set_modified(modified).named("set the time of", to)
}
