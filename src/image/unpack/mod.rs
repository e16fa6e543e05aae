//! Unpacking one layer into its own empty directory, in the form that overlayfs mounts.
//!
//! Every entry is made by the descriptor of its directory and one name; directories are opened by `openat2` such that
//! resolution neither leaves the layer nor follows a link. Layers never see each other, so a link in one cannot redirect a
//! file of the next. Ids, modes (setuid included) and times are the archive's.

mod contents;
mod directory;
mod existing;
mod file;
mod link;
mod metadata;
mod name;
mod tree;
mod whiteout;

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, fchmod, futimens};
use nix::unistd::{Gid, Uid, fchown};

use self::contents::Contents;
use self::name::Place;
use self::tree::Tree;
use super::pack::checksum;
use super::tar::{Input, Kind, Member, TarReader};
use super::{ImageError, UnpackLimits};

/// The highest uid and gid of a sandbox.
const ID_MAX: u64 = 65535;

/// What a layer turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub bytes: u64,
    pub entries: u64,
    pub skipped_devices: u64,
    pub dropped_xattrs: u64,
    /// Nothing of the layers below is to be seen.
    pub opaque: bool,
    /// The archive ended by its end marker.
    pub ended: bool,
    /// Of what is on the disk now (see `pack::checksum`).
    pub checksum: String,
}

/// Unpacks the archive, to its last byte, into the empty directory `root`; `at` names the layer in errors.
///
/// # Errors
/// Whatever is refused, exceeds a limit or cannot be written; the caller removes the directory.
pub fn unpack<R: Input>(input: R, root: OwnedFd, at: &str, limits: &UnpackLimits) -> Result<Unpacked, ImageError> {
    prepare(&root).map_err(|errno| ImageError::io(format!("prepare the directory of {at}"), errno))?;
    let again = root.try_clone().map_err(|error| ImageError::io(format!("open the directory of {at}"), error))?;
    let (contents, unpacked) = (Contents::default(), Unpacked::default());
    let mut unpacker =
        Unpacker { tree: Tree::new(root, at)?, at, limits, apparent: 0, directories: 0, contents, unpacked };
    let mut tar = TarReader::new(input, at, limits);
    while let Some(member) = tar.next()? {
        unpacker.take(&member, &mut tar)?;
    }
    unpacker.unpacked.ended = tar.finish()?;
    let Unpacker { tree, mut contents, unpacked, .. } = unpacker;
    tree.finish()?;
    let checksum = checksum::of(again, at, &mut contents)?;
    Ok(Unpacked { checksum, ..unpacked })
}

/// A root that no entry describes is root's, and open to all inside.
fn prepare(root: &OwnedFd) -> nix::Result<()> {
    fchown(root, Some(Uid::from_raw(0)), Some(Gid::from_raw(0)))?;
    fchmod(root.as_fd(), Mode::from_bits_truncate(0o755))?;
    futimens(root, &tree::NEVER, &tree::NEVER)
}

struct Unpacker<'l> {
    tree: Tree,
    at: &'l str,
    limits: &'l UnpackLimits,
    /// Bytes of all files, holes included.
    apparent: u64,
    /// Entries that are directories.
    directories: u64,
    contents: Contents,
    unpacked: Unpacked,
}

impl Unpacker<'_> {
    fn take<R: Input>(&mut self, member: &Member, tar: &mut TarReader<'_, R>) -> Result<(), ImageError> {
        self.account(member, tar.input().compressed())?;
        let place = name::parse(&member.name, member.kind, self.limits).map_err(|problem| self.bad(member, problem))?;
        match place {
            Place::Ignored => {}
            Place::Root => self.root(member)?,
            Place::Entry { parent, name } => self.entry(member, &parent, &name, tar)?,
            Place::Whiteout { parent, name } => {
                let directory = self.tree.enter(&parent)?;
                whiteout::hide(directory, &name).map_err(|errno| self.tree.failed("make", &member.name, errno))?;
            }
            Place::Opaque { directory } => {
                self.unpacked.opaque |= directory.is_empty();
                let made = whiteout::make_opaque(self.tree.enter(&directory)?.as_fd());
                made.map_err(|errno| self.tree.failed("make", &member.name, errno))?;
            }
        }
        Ok(())
    }

    fn entry<R: Input>(
        &mut self,
        member: &Member,
        parent: &[u8],
        name: &[u8],
        tar: &mut TarReader<'_, R>,
    ) -> Result<(), ImageError> {
        let tree = &mut self.tree;
        self.unpacked.dropped_xattrs += match member.kind {
            Kind::File => file::make(tree, parent, name, member, (tar, &mut self.contents))?,
            Kind::Directory => directory::make(tree, parent, name, member)?,
            Kind::Symlink => link::make_symlink(tree, parent, name, member)?,
            Kind::Fifo => file::make_fifo(tree, parent, name, member)?,
            Kind::HardLink => {
                link::make_hard_link(tree, parent, name, member, self.limits)?;
                0
            }
            // A sandbox has a /dev of its own. One that is 0:0 would be a whiteout.
            Kind::CharDevice | Kind::BlockDevice => {
                self.unpacked.skipped_devices += 1;
                0
            }
        };
        Ok(())
    }

    fn root(&mut self, member: &Member) -> Result<(), ImageError> {
        if member.kind != Kind::Directory {
            return Err(self.bad(member, "the root of the layer must be a directory"));
        }
        self.unpacked.dropped_xattrs += directory::describe(&mut self.tree, b"", member)?;
        Ok(())
    }

    fn account(&mut self, member: &Member, compressed: Option<u64>) -> Result<(), ImageError> {
        let limits = self.limits;
        self.unpacked.entries += 1;
        self.unpacked.bytes = self.unpacked.bytes.saturating_add(member.stored);
        self.apparent = self.apparent.saturating_add(member.size);
        if member.uid > ID_MAX || member.gid > ID_MAX {
            return Err(self.bad(member, &format!("its owner {}:{} is not in 0..=65535", member.uid, member.gid)));
        }
        if member.size > limits.file_bytes {
            let at = self.tree.at(&member.name);
            return Err(ImageError::TooLarge { at, what: "bytes of the file", limit: limits.file_bytes });
        }
        let too_large = |what, limit| ImageError::TooLarge { at: self.at.to_owned(), what, limit };
        let inodes = self.unpacked.entries + self.tree.made;
        if inodes > limits.entries {
            return Err(too_large("entries", limits.entries));
        }
        self.directories += u64::from(member.kind == Kind::Directory);
        // A directory takes a block beside its inode, lies elsewhere on the disk, and costs about as much as eight files.
        let cost = inodes + 7 * (self.directories + self.tree.made);
        let paid = compressed.is_none_or(|bytes| bytes / limits.entry_bytes.max(1) >= cost);
        if cost > limits.entries_from && !paid {
            return Err(too_large("entries that are nearly nothing when compressed", limits.entries_from));
        }
        if self.apparent > limits.layer_bytes {
            return Err(too_large("bytes of all files", limits.layer_bytes));
        }
        Ok(())
    }

    fn bad(&self, member: &Member, problem: &str) -> ImageError {
        ImageError::bad(self.tree.at(&member.name), problem)
    }
}
