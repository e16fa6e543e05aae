//! The checksum of an unpacked layer: of every name, all that is said of it, and the content of every file.
//!
//! It does not depend on the order of entries, so nothing has to be sorted or kept while a layer of a million files is looked
//! at: the digests of all entries are added up, as numbers of 256 bits. Against damage that is as good as a digest of the sorted
//! list.

use std::os::fd::OwnedFd;

use sha2::{Digest as _, Sha256};

use super::content::ContentHash;
use super::entry::{self, Entry, Kind};
use super::walk::{Order, walk};
use crate::image::ImageError;
use crate::image::tar::shown;

/// The form of what is hashed; another form is another name.
const FORM: &str = "tree1";

/// How to look at the files.
pub trait Files {
    /// The hash of this file's content.
    fn content(&mut self, entry: &Entry<'_>) -> std::io::Result<ContentHash>;

    /// Whether files may have attributes. Directories always may.
    fn may_have_attributes(&self) -> bool;
}

/// The checksum of the tree below `root`; `at` names the layer in errors.
///
/// # Errors
/// When something in it cannot be read.
pub fn of(root: OwnedFd, at: &str, files: &mut dyn Files) -> Result<String, ImageError> {
    let mut sum = Sum::default();
    walk(root, at, Order::AsFound, &mut |entry| {
        let digest = digest(entry, files);
        let failed = |error| ImageError::io(format!("read {at}, entry {}", shown(entry.path)), error);
        sum.add(digest.map_err(failed)?);
        Ok(())
    })?;
    Ok(format!("{FORM}:{}", sum.hex()))
}

fn digest(entry: &Entry<'_>, files: &mut dyn Files) -> std::io::Result<[u8; 32]> {
    let stat = &entry.stat;
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(entry.path);
    let kind = entry.kind();
    if kind == Kind::Whiteout {
        // Nothing else of it means anything.
        field(b"whiteout");
        return Ok(hasher.finalize().into());
    }
    field(&stat.st_mode.to_le_bytes());
    field(&[stat.st_uid.to_le_bytes(), stat.st_gid.to_le_bytes()].concat());
    field(&[stat.st_mtime.to_le_bytes(), stat.st_mtime_nsec.to_le_bytes()].concat());
    if kind != Kind::Directory {
        field(stat.st_nlink.to_string().as_bytes());
    }
    match kind {
        Kind::File => {
            field(&stat.st_size.to_le_bytes());
            field(&files.content(entry)?);
        }
        Kind::Symlink => field(&entry.link()?),
        _ => {}
    }
    if kind == Kind::Directory || (kind == Kind::File && files.may_have_attributes()) {
        let fd = entry.open()?;
        for (name, value) in entry::attributes(&fd)? {
            field(&name);
            field(&value);
        }
        if kind == Kind::Directory && entry::is_opaque(&fd) {
            field(b"opaque");
        }
    }
    Ok(hasher.finalize().into())
}

/// A sum of numbers of 256 bits, the lowest part first.
#[derive(Debug, Default)]
struct Sum([u64; 4]);

impl Sum {
    fn add(&mut self, digest: [u8; 32]) {
        let mut carry = false;
        for (part, bytes) in self.0.iter_mut().zip(digest.as_chunks::<8>().0) {
            let (sum, first) = part.overflowing_add(u64::from_le_bytes(*bytes));
            let (sum, second) = sum.overflowing_add(carry.into());
            (*part, carry) = (sum, first || second);
        }
    }

    fn hex(&self) -> String {
        self.0.iter().rev().map(|part| format!("{part:016x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_carries_and_knows_no_order() {
        let number = |low: u64, high: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&low.to_le_bytes());
            bytes[24..].copy_from_slice(&high.to_le_bytes());
            bytes
        };
        let sum = |numbers: &[[u8; 32]]| {
            let mut sum = Sum::default();
            numbers.iter().for_each(|number| sum.add(*number));
            sum.0
        };
        let (a, b, c) = (number(u64::MAX, 1), number(1, u64::MAX), number(7, 7));
        assert_eq!(sum(&[a, b]), [0, 1, 0, 0]);
        assert_eq!(sum(&[a, b, c]), sum(&[c, a, b]));
        assert_eq!(sum(&[[255; 32], number(1, 0)]), [0; 4]);
    }
}
