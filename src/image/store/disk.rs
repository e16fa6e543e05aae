//! The store's files.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::ImageStore;
use crate::image::record::{Record, VERSION};
use crate::image::{Digest, Image, ImageError, Reference};

pub(super) const LAYERS: &str = "layers";
pub(super) const RECORDS: &str = "records";
pub(super) const TMP: &str = "tmp";
pub(super) const QUARANTINE: &str = "quarantine";

/// Something below `tmp/` that goes away with this value, unless it was moved to where it belongs.
#[derive(Debug)]
pub(in crate::image) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_any(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove what an import left; the next start will");
        }
    }
}

impl ImageStore {
    /// An empty directory below `tmp/`.
    pub(in crate::image) fn scratch_dir(&self) -> Result<Scratch, ImageError> {
        let path = self.scratch_path();
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| ImageError::io(format!("make {}", path.display()), error))?;
        Ok(Scratch { path })
    }

    /// A file that has no name any more, for what must be read twice.
    pub(in crate::image) fn scratch_file(&self) -> Result<File, ImageError> {
        let path = self.scratch_path();
        let mut options = OpenOptions::new();
        let made = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let unlinked = made.and_then(|file| fs::remove_file(&path).map(|()| file));
        unlinked.map_err(|error| ImageError::io(format!("make {}", path.display()), error))
    }

    pub(super) fn scratch_path(&self) -> PathBuf {
        self.dir.join(TMP).join(uuid::Uuid::new_v4().simple().to_string())
    }

    /// Moves a layer that nobody needs out of the way; the caller removes what is returned, without a lock.
    pub(super) fn discard_layer(&self, dir: &str) -> Option<Scratch> {
        let path = self.scratch_path();
        match fs::rename(self.layers.join(dir), &path) {
            Ok(()) => Some(Scratch { path }),
            Err(error) => {
                tracing::warn!(layer = dir, %error, "cannot remove a layer that no image needs; the next start will");
                None
            }
        }
    }

    /// Writes the record such that after a crash either it or what was there before is found.
    pub(super) fn write_record(&self, image: &Image) -> Result<(), ImageError> {
        let records = self.dir.join(RECORDS);
        let name = record_name(image);
        self.write_to(&records.join(&name), image, true)?;
        // One that could not be moved is older.
        remove_if_there(&self.unsettled.path(&name))?;
        sync_dir(&records).map_err(|error| ImageError::io(format!("write {}", records.display()), error))
    }

    /// Writes the record of an image of which not everything is on the disk, and has that done.
    pub(super) fn write_unsettled(&self, image: &Image) -> Result<(), ImageError> {
        let name = record_name(image);
        self.unsettled.make_dir()?;
        self.write_to(&self.unsettled.path(&name), image, false)?;
        self.settle_later(&name);
        Ok(())
    }

    fn write_to(&self, target: &Path, image: &Image, synced: bool) -> Result<(), ImageError> {
        let scratch = Scratch { path: self.scratch_path() };
        let write = || -> io::Result<()> {
            let record = serde_json::to_vec(&Record { version: VERSION, image: image.clone() })?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(scratch.path())?;
            file.write_all(&record)?;
            if synced {
                file.sync_all()?;
            }
            fs::rename(scratch.path(), target)
        };
        write().map_err(|error| ImageError::io(format!("write {}", target.display()), error))
    }

    pub(super) fn remove_record(&self, image: &Image) -> Result<(), ImageError> {
        let name = record_name(image);
        // In this order: meanwhile it may be moved from the first place to the second.
        remove_if_there(&self.unsettled.path(&name))?;
        remove_if_there(&self.dir.join(RECORDS).join(&name))?;
        let records = self.dir.join(RECORDS);
        sync_dir(&records).map_err(|error| ImageError::io(format!("write {}", records.display()), error))
    }
}

/// The name of the file of its record: by the digest of the image's name, so that a name cannot become a path.
pub(super) fn record_name(image: &Image) -> String {
    match image.name.parse::<Reference>() {
        Ok(name) => format!("{}.json", Digest::of(name.canonical().as_bytes()).hex()),
        Err(_) => format!("unnamed-{}.json", Digest::of(image.digest.as_bytes()).hex()),
    }
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), ImageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory that only root can enter: host users must not reach the setuid files of images.
pub(super) fn private_dir(path: &Path) -> Result<(), ImageError> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|error| ImageError::io(format!("make {}", path.display()), error))
}

/// Removes a file or a whole directory; links are removed, not followed.
pub(super) fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
