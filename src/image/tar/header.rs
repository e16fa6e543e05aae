//! One header block.

use tar::Header;

use super::{BLOCK, number, shown};
use crate::image::ImageError;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// What a block stands for in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    Entry(Kind),
    GnuSparse,
    LongName,
    LongLink,
    Pax,
    PaxGlobal,
}

/// The fields of a header whose checksum is right.
pub(super) struct Fields<'a> {
    pub header: &'a Header,
    pub kind: BlockKind,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub size: u64,
}

impl<'a> Fields<'a> {
    pub fn parse(block: &'a [u8; BLOCK], at: &str) -> Result<Self, ImageError> {
        let header = Header::from_byte_slice(block);
        if !checksum_is_right(block, header) {
            return Err(ImageError::bad(at, "a header's checksum is wrong (is it a tar archive, and whole?)"));
        }
        let name = header.path_bytes().into_owned();
        let at_entry = || format!("{at}, entry {}", shown(&name));
        let size = number::unsigned(&header.as_old().size)
            .ok_or_else(|| ImageError::bad(at_entry(), "its size is not a number"))?;
        let kind = block_kind(header, &name).map_err(|problem| ImageError::bad(at_entry(), problem))?;
        if size != 0 && is_header_only(kind) {
            return Err(ImageError::bad(at_entry(), "a link, directory or device says that it has data"));
        }
        let link = header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        Ok(Self { header, kind, name, link, size })
    }

    pub fn number(&self, field: &[u8], what: &str, at: &str) -> Result<u64, ImageError> {
        number::unsigned(field).ok_or_else(|| {
            ImageError::bad(
                format!("{at}, entry {}", shown(&self.name)),
                format!("its {what} is not a positive number"),
            )
        })
    }
}

/// Unsigned bytes, the checksum field itself counted as spaces.
fn checksum_is_right(block: &[u8; BLOCK], header: &Header) -> bool {
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let field: u32 = header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum();
    number::unsigned(&header.as_old().cksum) == Some(u64::from(sum - field + 8 * u32::from(b' ')))
}

/// Readers disagree about the types that are refused here, so whoever means well does not use them in images.
fn block_kind(header: &Header, name: &[u8]) -> Result<BlockKind, String> {
    let slash = name.ends_with(b"/");
    Ok(BlockKind::Entry(match header.as_old().linkflag {
        [b'0' | b'7'] if slash => return Err("it is a file whose name ends in a slash".into()),
        // Before POSIX a directory was a file whose name ended in a slash.
        [0] if slash => Kind::Directory,
        [b'0' | b'7' | 0] => Kind::File,
        [b'1'] => Kind::HardLink,
        [b'2'] => Kind::Symlink,
        [b'3'] => Kind::CharDevice,
        [b'4'] => Kind::BlockDevice,
        [b'5'] => Kind::Directory,
        [b'6'] => Kind::Fifo,
        [b'S'] => return Ok(BlockKind::GnuSparse),
        [b'L'] => return Ok(BlockKind::LongName),
        [b'K'] => return Ok(BlockKind::LongLink),
        [b'x'] => return Ok(BlockKind::Pax),
        [b'g'] => return Ok(BlockKind::PaxGlobal),
        [other] => return Err(format!("entries of type {:?} are not supported", char::from(other))),
    }))
}

fn is_header_only(kind: BlockKind) -> bool {
    matches!(kind, BlockKind::Entry(kind) if kind != Kind::File)
}
