//! An unpacked layer: walked, packed again, and compared with what was unpacked.
//!
//! What overlayfs mounts becomes what archives carry: whiteouts and opaque directories get their names back, hard links are
//! found by their inodes, sparse files keep their holes. The same tree always gives the same bytes: entries are sorted, and
//! nothing of this host or this hour goes in.

pub mod checksum;
mod content;
mod entry;
mod header;
mod segments;
mod walk;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use self::header::Header;
use self::segments::Segment;
use super::ImageError;
use super::tar::{BLOCK, shown};

pub use self::checksum::Files;
pub use self::content::{Content, ContentHash, of_file as content_of};
pub use self::entry::{Entry, Kind};
pub use self::header::write_file;
pub use self::walk::{Order, walk};

const BUFFER: usize = 256 << 10;

/// Writes the tree below `root` as a tar archive; `at` names the layer in errors.
///
/// # Errors
/// When something in the tree cannot be read, or is nothing that unpacking makes; or when `out` fails.
pub fn pack(root: OwnedFd, at: &str, out: &mut dyn Write) -> Result<(), ImageError> {
    let mut packer = Packer { at, out, linked: HashMap::new(), buffer: vec![0; BUFFER] };
    walk(root, at, Order::Sorted, &mut |entry| packer.take(entry))?;
    // Two blocks of zeros are the end.
    packer.write(&[0; 2 * BLOCK])
}

struct Packer<'a> {
    at: &'a str,
    out: &'a mut dyn Write,
    /// The first name of each inode that has several.
    linked: HashMap<u64, Vec<u8>>,
    buffer: Vec<u8>,
}

impl Packer<'_> {
    fn take(&mut self, entry: &Entry<'_>) -> Result<(), ImageError> {
        match entry.kind() {
            Kind::Whiteout => return self.marker(&entry.beside(b".wh.")),
            Kind::Directory => {}
            _ if entry.stat.st_nlink > 1 => match self.linked.entry(entry.stat.st_ino) {
                Slot::Occupied(first) => {
                    let target = first.get().clone();
                    return self.header(&Header { link: target, ..Header::of(entry, b'1') });
                }
                Slot::Vacant(slot) => drop(slot.insert(entry.path.to_vec())),
            },
            _ => {}
        }
        match entry.kind() {
            Kind::Directory => self.directory(entry),
            Kind::File => self.file(entry),
            Kind::Symlink => {
                let link = entry.link().map_err(|errno| self.failed(entry, errno.into()))?;
                self.header(&Header { link, ..Header::of(entry, b'2') })
            }
            Kind::Fifo => self.header(&Header::of(entry, b'6')),
            Kind::Whiteout | Kind::Other => {
                Err(ImageError::bad(self.name(entry), "it is nothing that unpacking a layer makes"))
            }
        }
    }

    fn directory(&mut self, entry: &Entry<'_>) -> Result<(), ImageError> {
        let read = entry.open().and_then(|fd| Ok((entry::attributes(&fd)?, entry::is_opaque(&fd))));
        let (xattrs, opaque) = read.map_err(|errno| self.failed(entry, errno.into()))?;
        let mut path = if entry.path.is_empty() { b".".to_vec() } else { entry.path.to_vec() };
        path.push(b'/');
        self.header(&Header { path: path.clone(), xattrs, ..Header::of(entry, b'5') })?;
        if opaque {
            self.marker(&[path.strip_prefix(b"./").unwrap_or(&path), b".wh..wh..opq"].concat())?;
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry<'_>) -> Result<(), ImageError> {
        let opened = entry.open().and_then(|fd| Ok((entry::attributes(&fd)?, File::from(fd))));
        let (xattrs, mut file) = opened.map_err(|errno| self.failed(entry, errno.into()))?;
        let header = Header { xattrs, size: entry.size(), ..Header::of(entry, b'0') };
        match segments::of(&file, &entry.stat).map_err(|error| self.failed(entry, error))? {
            None => {
                self.header(&header)?;
                self.data(entry, &mut file, entry.size())?;
                self.pad(entry.size())
            }
            Some(segments) => self.sparse(entry, header, &mut file, &segments),
        }
    }

    /// In the format 1.0 of GNU tar for PAX: the map lies in front of the data.
    fn sparse(
        &mut self,
        entry: &Entry<'_>,
        header: Header,
        file: &mut File,
        segments: &[Segment],
    ) -> Result<(), ImageError> {
        let map = segments::map(segments);
        let data: u64 = segments.iter().map(|segment| segment.length).sum();
        self.header(&header.sparse(map.len() as u64 + data))?;
        self.write(&map)?;
        for segment in segments {
            file.seek(SeekFrom::Start(segment.offset)).map_err(|error| self.failed(entry, error))?;
            self.data(entry, file, segment.length)?;
        }
        self.pad(data)
    }

    fn data(&mut self, entry: &Entry<'_>, file: &mut File, mut left: u64) -> Result<(), ImageError> {
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            // No more than the length of the buffer.
            match file.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(ImageError::bad(self.name(entry), "it is shorter than it says")),
                Ok(count) => {
                    self.out.write_all(&self.buffer[..count]).map_err(unwritten)?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(entry, error)),
            }
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), ImageError> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
        // Less than a block.
        self.write(&[0; BLOCK][..padding])
    }

    /// An empty file whose name is all that it says.
    fn marker(&mut self, path: &[u8]) -> Result<(), ImageError> {
        self.header(&Header { path: path.to_vec(), kind: b'0', ..Header::default() })
    }

    fn header(&mut self, header: &Header) -> Result<(), ImageError> {
        header.write(self.out).map_err(unwritten)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.out.write_all(bytes).map_err(unwritten)
    }

    fn name(&self, entry: &Entry<'_>) -> String {
        format!("{}, entry {}", self.at, shown(entry.path))
    }

    fn failed(&self, entry: &Entry<'_>, error: io::Error) -> ImageError {
        ImageError::io(format!("read {}", self.name(entry)), error)
    }
}

fn unwritten(error: io::Error) -> ImageError {
    ImageError::io("write the archive", error)
}
