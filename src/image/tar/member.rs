//! One entry, from its header and the extended headers before it.

use super::header::{BlockKind, Fields};
use super::pax::{Pax, PaxSparse};
use super::reader::{TarReader, padding};
use super::sparse::{Map, MapText};
use super::{BLOCK, Input, Kind, Region, number, shown};
use crate::image::ImageError;

/// The largest size that the octal field of a header can say; a PAX size below it has no reason to be there.
const OCTAL_MAX: u64 = 0o77_777_777_777;

/// One entry, with everything that its extended headers say applied.
#[derive(Debug)]
pub struct Member {
    pub kind: Kind,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: (i64, u32),
    /// Bytes of data in the archive.
    pub stored: u64,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Where the data belongs, for a sparse file.
    pub regions: Option<Vec<Region>>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub dropped_xattrs: u64,
}

/// Extended headers seen before an entry.
#[derive(Default)]
pub(super) struct Extended {
    pub name: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub pax: Option<Pax>,
}

impl Extended {
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.pax.is_none()
    }
}

impl<R: Input> TarReader<'_, R> {
    pub(super) fn member(&mut self, fields: &Fields<'_>, extended: Extended) -> Result<Member, ImageError> {
        let pax = extended.pax.unwrap_or_default();
        let at = format!("{}, entry {}", self.at, shown(pax.path.as_ref().unwrap_or(&fields.name)));
        let bad = |problem: &str| ImageError::bad(&at, problem);
        if (extended.name.is_some() && pax.path.is_some()) || (extended.link.is_some() && pax.linkpath.is_some()) {
            return Err(bad("a GNU and a PAX header both give its name"));
        }
        let stored = agreed_size(fields.size, pax.size).map_err(bad)?;
        let header = fields.header.as_old();
        let kind = match fields.kind {
            BlockKind::Entry(kind) => kind,
            _ => Kind::File,
        };
        if kind != Kind::File && stored != 0 {
            return Err(bad("a link, directory or device says that it has data"));
        }
        // Also where a PAX record overrides it: other readers refuse what is no number.
        let mtime = number::signed(&header.mtime).ok_or_else(|| bad("its time is not a number"))?;
        let mut member = Member {
            kind,
            name: pax.path.or(extended.name).unwrap_or_else(|| fields.name.clone()),
            link: pax.linkpath.or(extended.link).unwrap_or_else(|| fields.link.clone()),
            mode: u32::try_from(fields.number(&header.mode, "mode", &at)? & 0o7777).unwrap_or(0),
            uid: pax.uid.unwrap_or(fields.number(&header.uid, "uid", &at)?),
            gid: pax.gid.unwrap_or(fields.number(&header.gid, "gid", &at)?),
            mtime: pax.mtime.unwrap_or((mtime, 0)),
            stored,
            size: stored,
            regions: None,
            xattrs: pax.xattrs,
            dropped_xattrs: pax.dropped,
        };
        self.remaining = stored;
        self.padding = padding(stored);
        match (fields.kind == BlockKind::GnuSparse, pax.sparse.is_present()) {
            (true, true) => return Err(bad("a GNU and a PAX header both make it sparse")),
            (true, false) => self.gnu_sparse(fields, &mut member)?,
            (false, true) => self.pax_sparse(pax.sparse, &mut member)?,
            (false, false) => {}
        }
        Ok(member)
    }

    /// The map begins in the header and goes on in blocks of its own, which its size does not count.
    fn gnu_sparse(&mut self, fields: &Fields<'_>, member: &mut Member) -> Result<(), ImageError> {
        let at = format!("{}, entry {}", self.at, shown(&member.name));
        let bad = |problem: &str| ImageError::bad(&at, problem);
        let header = fields.header.as_gnu().ok_or_else(|| bad("it is sparse, but the header is not GNU's"))?;
        let mut map = Map::new(self.limits.sparse_regions);
        map.push_table(&header.sparse).map_err(bad)?;
        let mut extended = header.isextended != [0];
        while extended {
            let block = self.block()?.ok_or_else(|| bad("it ends within the map of a sparse file"))?;
            let mut table = tar::GnuExtSparseHeader::new();
            table.as_mut_bytes().copy_from_slice(&block);
            map.push_table(&table.sparse).map_err(bad)?;
            extended = table.isextended != [0];
        }
        member.size = fields.number(&header.realsize, "real size", &at)?;
        member.regions = Some(map.finish(member.size, member.stored).map_err(bad)?);
        Ok(())
    }

    /// Format 1.0: the map lies in front of the data and is counted by its size.
    fn pax_sparse(&mut self, sparse: PaxSparse, member: &mut Member) -> Result<(), ImageError> {
        let at = format!("{}, entry {}", self.at, shown(&member.name));
        let bad = |problem: &str| ImageError::bad(&at, problem);
        let (Some(1), Some(0), Some(name), Some(real_size), false, Kind::File) =
            (sparse.major, sparse.minor, sparse.name, sparse.realsize, sparse.old_format, member.kind)
        else {
            return Err(bad("sparse files are supported in the old GNU format and in the PAX format 1.0 only"));
        };
        member.name = name;
        member.size = real_size;
        let mut map = Map::new(self.limits.sparse_regions);
        let mut text = MapText::default();
        loop {
            if self.remaining < BLOCK as u64 {
                return Err(bad("the map of the sparse file is longer than its data"));
            }
            let block = self.block()?.ok_or_else(|| bad("it ends within the map of a sparse file"))?;
            self.remaining -= BLOCK as u64;
            if text.take(&block, &mut map).map_err(bad)? {
                break;
            }
        }
        member.stored = self.remaining;
        member.regions = Some(map.finish(real_size, member.stored).map_err(bad)?);
        Ok(())
    }
}

/// The PAX size wins where it has a reason to be there: the header's field could not hold it. Anywhere else the two must
/// agree, because readers differ in which one they believe, and the difference is where entries hide.
fn agreed_size(header: u64, pax: Option<u64>) -> Result<u64, &'static str> {
    match pax {
        Some(size) if size != header && size <= OCTAL_MAX => {
            Err("its header and its PAX record disagree about its size")
        }
        Some(size) => Ok(size),
        None => Ok(header),
    }
}
