//! Owner, group and mode; directories.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, fchown};
use std::path::Path;

use super::failure::{Named, Outcome, failure};
use crate::agent::user::Names;
use crate::proto::{FileFailureKind, Permission};

/// A permission in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub mode: Option<u32>,
}

impl Ids {
    /// Looks names up as the sandbox knows them.
    pub fn of(permission: &Permission) -> Outcome<Self> {
        let Permission { owner, group, mode } = permission;
        if owner.is_none() && group.is_none() {
            return Ok(Self { user: None, group: None, mode: *mode });
        }
        let names = Names::read();
        let unknown = |message| failure(FileFailureKind::Other, message);
        let user = owner.as_ref().map(|owner| names.user_id(owner)).transpose().map_err(unknown)?;
        let group = group.as_ref().map(|group| names.group_id(group)).transpose().map_err(unknown)?;
        Ok(Self { user, group, mode: *mode })
    }

    /// The owner first: to change it takes set-user-ID bits away.
    pub fn apply(self, file: &File) -> io::Result<()> {
        if self.user.is_some() || self.group.is_some() {
            fchown(file, self.user, self.group)?;
        }
        self.mode.map_or(Ok(()), |mode| file.set_permissions(Permissions::from_mode(mode)))
    }
}

/// Follows a link.
pub fn change(path: &Path, permission: &Permission) -> Outcome<()> {
    let ids = Ids::of(permission)?;
    if ids.user.is_some() || ids.group.is_some() {
        chown(path, ids.user, ids.group).named("change the owner of", path)?;
    }
    match ids.mode {
        Some(mode) => fs::set_permissions(path, Permissions::from_mode(mode)).named("change the mode of", path),
        // Nothing to do is done only to what is there.
        None => fs::metadata(path).named("look at", path).map(drop),
    }
}

/// One that is there already stays as it is.
pub fn make_directory(path: &Path, permission: &Permission) -> Outcome<()> {
    let ids = Ids::of(permission)?;
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Ok(()),
        Ok(_) => return Err(failure(FileFailureKind::NotADirectory, format!("{} is no directory", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).named("look at", path),
    }
    fs::create_dir_all(path).named("make the directory", path)?;
    let dir = File::open(path).named("open", path)?;
    ids.apply(&dir).named("change owner or mode of", path)
}
