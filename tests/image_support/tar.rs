//! Tar archives, byte by byte, so that they can be wrong in any way.

use std::io::Write;

/// An archive in the making.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// One header and its data.
#[derive(Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub mode: u64,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub data: Vec<u8>,
    /// What the header says, if not the length of the data.
    pub size: Option<u64>,
    pub gnu: bool,
}

impl Entry {
    pub fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self {
            name: name.as_ref().to_vec(),
            kind,
            link: Vec::new(),
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_000_000_000,
            data: Vec::new(),
            size: None,
            gnu: false,
        }
    }

    pub fn header(&self) -> [u8; 512] {
        let mut header = [0; 512];
        put(&mut header, 0, &self.name[..self.name.len().min(100)]);
        put(&mut header, 100, format!("{:07o}", self.mode).as_bytes());
        put(&mut header, 108, &number(self.uid, 8));
        put(&mut header, 116, &number(self.gid, 8));
        put(&mut header, 124, &number(self.size.unwrap_or(self.data.len() as u64), 12));
        put(&mut header, 136, &number(self.mtime, 12));
        header[156] = self.kind;
        put(&mut header, 157, &self.link[..self.link.len().min(100)]);
        put(&mut header, 257, if self.gnu { b"ustar  \0" } else { b"ustar\x0000" });
        header
    }
}

fn put(header: &mut [u8; 512], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Octal, or base 256 where that is too long.
fn number(value: u64, width: usize) -> Vec<u8> {
    let octal = format!("{value:0width$o}", width = width - 1).into_bytes();
    if octal.len() < width {
        return octal;
    }
    let mut bytes = vec![0; width];
    bytes[width - 8..].copy_from_slice(&value.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}

/// One PAX record.
pub fn record(key: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let rest = [b" ".as_slice(), key.as_bytes(), b"=", value.as_ref(), b"\n"].concat();
    let length =
        (1..9).map(|digits| digits + rest.len()).find(|all| all.to_string().len() + rest.len() == *all).unwrap();
    [length.to_string().as_bytes(), &rest].concat()
}

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// A header as it is, its checksum made right, and padded data.
    pub fn raw(mut self, mut header: [u8; 512], data: &[u8]) -> Self {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn entry(self, entry: &Entry) -> Self {
        self.raw(entry.header(), &entry.data)
    }

    pub fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.entry(&Entry { data: data.as_ref().to_vec(), ..Entry::new(b'0', name) })
    }

    pub fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(&Entry::new(b'5', name))
    }

    pub fn link(self, kind: u8, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(&Entry { link: target.as_ref().to_vec(), ..Entry::new(kind, name) })
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.link(b'2', name, target)
    }

    pub fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.link(b'1', name, target)
    }

    /// A PAX header of the given records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let data = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.entry(&Entry { data, ..Entry::new(b'x', "PaxHeaders/x") })
    }

    /// A GNU long name (`L`) or long link (`K`) for the next entry.
    pub fn long(self, kind: u8, name: impl AsRef<[u8]>) -> Self {
        let data = [name.as_ref(), b"\0"].concat();
        self.entry(&Entry { data, gnu: true, ..Entry::new(kind, "././@LongLink") })
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
