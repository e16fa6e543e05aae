//! Headers of tar entries: ustar, with a PAX header before it for what does not fit (`pax(1)`, POSIX.1-2001).

use std::io::{self, Write};

use super::entry::Entry;
use crate::image::tar::BLOCK;

/// What the octal fields of a header hold.
const SIZE_MAX: u64 = 0o77_777_777_777;
const NAME_MAX: usize = 100;

/// Everything that is said of one entry.
#[derive(Debug, Clone, Default)]
pub struct Header {
    pub path: Vec<u8>,
    /// The type flag of the format.
    pub kind: u8,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, i64),
    pub size: u64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The size of the whole file, where `size` is that of its map and data.
    pub real_size: Option<u64>,
}

/// Writes a file that is here as a whole, of which nothing but its name and size is said.
pub fn write_file(out: &mut dyn Write, name: &str, size: u64) -> io::Result<()> {
    Header { path: name.into(), kind: b'0', mode: 0o644, size, ..Header::default() }.write(out)
}

impl Header {
    pub fn of(entry: &Entry<'_>, kind: u8) -> Self {
        let stat = &entry.stat;
        Self {
            path: entry.path.to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ..Self::default()
        }
    }

    /// The same for a sparse file whose map and data have this size.
    pub fn sparse(self, stored: u64) -> Self {
        Self { real_size: Some(self.size), size: stored, ..self }
    }

    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let records = self.records();
        if !records.is_empty() {
            let extended = Self { kind: b'x', mode: 0o644, size: records.len() as u64, ..Self::default() };
            out.write_all(&extended.block(b"PaxHeaders/entry"))?;
            out.write_all(&records)?;
            let padding = records.len().next_multiple_of(BLOCK) - records.len();
            // Less than a block.
            out.write_all(&[0; BLOCK][..padding])?;
        }
        match self.real_size {
            // What a reader that knows nothing of sparse files would make of it should not be taken for the file.
            Some(_) => out.write_all(&self.block(b"GNUSparseFile.0/entry")),
            None => out.write_all(&self.block(&self.path)),
        }
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        if let Some(real_size) = self.real_size {
            put(&mut records, b"GNU.sparse.major", b"1");
            put(&mut records, b"GNU.sparse.minor", b"0");
            put(&mut records, b"GNU.sparse.name", &self.path);
            put(&mut records, b"GNU.sparse.realsize", real_size.to_string().as_bytes());
        } else if self.path.len() > NAME_MAX {
            put(&mut records, b"path", &self.path);
        }
        if self.link.len() > NAME_MAX {
            put(&mut records, b"linkpath", &self.link);
        }
        if self.size > SIZE_MAX {
            put(&mut records, b"size", self.size.to_string().as_bytes());
        }
        if self.plain_time().is_none() {
            put(&mut records, b"mtime", decimal(self.mtime).as_bytes());
        }
        for (name, value) in &self.xattrs {
            put(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        records
    }

    /// The time, if the header itself can say it: whole seconds since 1970.
    fn plain_time(&self) -> Option<u64> {
        let seconds = u64::try_from(self.mtime.0).ok().filter(|seconds| *seconds <= SIZE_MAX);
        seconds.filter(|_| self.mtime.1 == 0)
    }

    fn block(&self, path: &[u8]) -> [u8; BLOCK] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(self.kind));
        header.set_mode(self.mode);
        header.set_uid(self.uid.into());
        header.set_gid(self.gid.into());
        // A PAX record says what is left out here.
        header.set_size(if self.size > SIZE_MAX { 0 } else { self.size });
        header.set_mtime(self.plain_time().unwrap_or_default());
        if let Some(ustar) = header.as_ustar_mut() {
            fill(&mut ustar.name, path);
            fill(&mut ustar.linkname, &self.link);
        }
        header.set_cksum();
        *header.as_bytes()
    }
}

/// As much as there is room for.
fn fill(field: &mut [u8], bytes: &[u8]) {
    field.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

/// Seconds with a fraction, counted up from them also before 1970: -1.5 is written for half a second past the second -2.
fn decimal((seconds, nanos): (i64, i64)) -> String {
    let nanos = nanos.clamp(0, 999_999_999);
    let (sign, whole, fraction) = match (seconds < 0, nanos) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, nanos) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
        (false, nanos) => ("", seconds.unsigned_abs(), nanos),
    };
    match fraction {
        0 => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{}", format!("{fraction:09}").trim_end_matches('0')),
    }
}

/// One record: its own length, in decimal, counts as well.
fn put(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..1200 {
            let mut records = Vec::new();
            put(&mut records, b"path", &vec![b'x'; length]);
            let said = records.split(|byte| *byte == b' ').next().expect("a length");
            assert_eq!(std::str::from_utf8(said).expect("digits").parse::<usize>(), Ok(records.len()));
        }
    }

    #[test]
    fn times_are_written_as_decimals() {
        for (time, text) in [
            ((5, 0), "5"),
            ((5, 500_000_000), "5.5"),
            ((0, 1), "0.000000001"),
            ((-5, 0), "-5"),
            ((-2, 500_000_000), "-1.5"),
            ((-1, 250_000_000), "-0.75"),
        ] {
            assert_eq!(decimal(time), text, "{time:?}");
        }
    }
}
