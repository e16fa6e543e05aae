//! An archive that holds the parts of an image.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::section::{Section, SeekingInput};
use crate::image::tar::{Kind, Member, TarReader, shown};
use crate::image::{ImageError, UnpackLimits};

const AT: &str = "the archive";

/// The parts of an archive, by name.
#[derive(Debug)]
pub struct Archive {
    whole: Section,
    parts: HashMap<Vec<u8>, Part>,
    broken: Option<ImageError>,
}

#[derive(Debug)]
enum Part {
    File {
        offset: u64,
        length: u64,
    },
    /// docker-save writes a layer that it has written before as a link to it.
    Link(Vec<u8>),
    /// It is there twice, and nobody can say which one is meant. In a root that is nothing unusual.
    Ambiguous,
}

/// What the first entries of an archive let one believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// No archive of an image begins like this.
    Root,
    /// It may be either.
    Open,
}

pub fn looks(start: &[u8], limits: &UnpackLimits) -> Looks {
    let mut tar = TarReader::new(start, AT, limits);
    while let Ok(Some(member)) = tar.next() {
        let name = clean(&member.name);
        if is_of_a_root(&name) {
            return Looks::Root;
        }
    }
    Looks::Open
}

/// Whether only a root file system has an entry like this one. Tools that write images name the parts in many ways, none of
/// them like a directory of `hier(7)`.
fn is_of_a_root(name: &[u8]) -> bool {
    let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    let known = "bin boot dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin srv sys tmp usr var";
    known.split(' ').any(|directory| directory.as_bytes() == first)
}

impl Archive {
    /// Reads all headers, and none of the data. A root file system is given up on early: it has other entries. One that
    /// cannot be read is read as far as possible.
    pub fn read(whole: Section, limits: &UnpackLimits) -> Self {
        let mut archive = Self { whole, parts: HashMap::new(), broken: None };
        if let Err(error) = archive.read_headers(limits) {
            archive.broken = Some(error);
        }
        archive
    }

    fn read_headers(&mut self, limits: &UnpackLimits) -> Result<(), ImageError> {
        let mut tar = TarReader::new(SeekingInput::new(self.whole.clone()), AT, limits);
        for _ in 0..limits.archive_members {
            let Some(member) = tar.next()? else { break };
            let offset = tar.input().position();
            let name = clean(&member.name);
            let Some(part) = part(&member, &name, offset) else { continue };
            match self.parts.entry(name) {
                Entry::Vacant(vacant) => drop(vacant.insert(part)),
                Entry::Occupied(mut occupied) => drop(occupied.insert(Part::Ambiguous)),
            }
        }
        Ok(())
    }

    /// What was wrong with the archive, if anything.
    pub fn broken(&mut self) -> Option<ImageError> {
        self.broken.take()
    }

    pub fn is_oci(&self) -> bool {
        self.has(b"oci-layout") && self.has(b"index.json")
    }

    pub fn is_docker_save(&self) -> bool {
        self.has(b"manifest.json")
    }

    fn has(&self, name: &[u8]) -> bool {
        self.parts.contains_key(name)
    }

    pub fn section(&self, path: &str) -> Result<Section, ImageError> {
        let missing = || ImageError::bad(AT, format!("it does not hold {}", shown(path.as_bytes())));
        let mut name = clean(path.as_bytes());
        // A link to a link is not something that docker-save writes.
        if let Some(Part::Link(target)) = self.parts.get(&name) {
            name = beside(&name, target).ok_or_else(missing)?;
        }
        match self.parts.get(&name) {
            Some(Part::File { offset, length }) => self.whole.part(*offset, *length).ok_or_else(missing),
            Some(Part::Ambiguous) => Err(ImageError::bad(AT, format!("it holds {} twice", shown(&name)))),
            _ => Err(missing()),
        }
    }
}

fn part(member: &Member, name: &[u8], offset: u64) -> Option<Part> {
    match member.kind {
        Kind::File if member.regions.is_none() => Some(Part::File { offset, length: member.stored }),
        Kind::Symlink => Some(Part::Link(member.link.clone())),
        // The target of a hard link is a name from the root of the archive.
        Kind::HardLink => {
            let up = b"../".repeat(name.iter().filter(|byte| **byte == b'/').count());
            Some(Part::Link([up, clean(&member.link)].concat()))
        }
        _ => None,
    }
}

/// A name within the archive; it is only ever compared, so `..` in it does no harm.
fn clean(name: &[u8]) -> Vec<u8> {
    let components: Vec<_> = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    components.join(b"/".as_slice())
}

/// What `target` means in the directory of `name`; `None` if that is outside of the archive.
fn beside(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut components: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    components.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(components.pop()?),
            _ => components.push(part),
        }
    }
    Some(components.join(b"/".as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within_the_archive() {
        assert_eq!(beside(b"abc/layer.tar", b"../def/layer.tar").unwrap(), b"def/layer.tar");
        assert_eq!(beside(b"abc/layer.tar", b"../x.tar").unwrap(), b"x.tar");
        assert_eq!(beside(b"layer.tar", b"../x"), None);
        assert_eq!(beside(b"layer.tar", b"/etc/passwd").unwrap(), b"etc/passwd");
    }

    #[test]
    fn an_image_is_told_from_a_root_by_its_first_names() {
        for name in ["", "oci-layout", "blobs/sha256/x", "layer.tar", "x/layer.tar", "library"] {
            assert!(!is_of_a_root(name.as_bytes()), "{name}");
        }
        for name in ["bin", "etc/passwd", "usr/blobs"] {
            assert!(is_of_a_root(name.as_bytes()), "{name}");
        }
    }
}
