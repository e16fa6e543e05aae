//! What was handed over, and how to read its parts.
//!
//! What it is shows in its content, never in its name. An archive that holds an image is read by seeking; where that is not
//! possible (a stream, or compressed as a whole) it is first written, decompressed, to a file of the store that has no name.
//! A plain root, which is the large one, is recognised by its first entries and streamed.

mod archive;
mod directory;
mod section;
mod spool;

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use self::archive::{Archive, Looks};
use self::directory::Directory;
pub(super) use self::section::Section;
use super::stream::{self, Compression};
use super::{ImageError, ImageStore};

/// Enough to see the first entries of an archive.
const START: usize = 64 << 10;

/// Where an image is imported from.
#[expect(missing_debug_implementations, reason = "holds a reader")]
pub enum Source<'a> {
    /// An OCI layout directory, or a file.
    Path(&'a Path),
    /// The bytes of a file.
    Reader(Box<dyn Read + Send + 'a>),
}

/// A source that was recognised.
pub(super) enum Opened<'a> {
    Oci(Container),
    DockerSave(Container),
    Root(RootTar<'a>),
}

/// A root file system in one tar stream.
pub(super) struct RootTar<'a> {
    pub raw: Box<dyn Read + Send + 'a>,
    pub compression: Compression,
    /// Compressed bytes; 0 if unknown.
    pub total: u64,
}

/// Something that holds the parts of an image under names.
#[derive(Debug)]
pub(super) enum Container {
    Directory(Directory),
    Archive(Archive),
}

impl Container {
    /// The part of that name, to be read in a stream.
    pub fn section(&self, path: &str) -> Result<Section, ImageError> {
        match self {
            Self::Directory(directory) => directory.section(path),
            Self::Archive(archive) => archive.section(path),
        }
    }

    /// A small part, as a whole.
    pub fn document(&self, path: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
        let mut section = self.section(path)?;
        if section.len() > limit {
            return Err(ImageError::TooLarge { at: path.to_owned(), what: "bytes of the document", limit });
        }
        let mut bytes = Vec::new();
        section.read_to_end(&mut bytes).map_err(|error| ImageError::from_read(error, path))?;
        Ok(bytes)
    }
}

/// Looks at the source and recognises it.
pub(super) fn open<'a>(source: Source<'a>, store: &ImageStore) -> Result<Opened<'a>, ImageError> {
    match source {
        Source::Path(path) => {
            let read = |error| ImageError::io(format!("open {}", path.display()), error);
            let metadata = std::fs::metadata(path).map_err(read)?;
            if metadata.is_dir() {
                return Ok(Opened::Oci(Container::Directory(Directory::open(path)?)));
            }
            let file = File::open(path).map_err(read)?;
            if metadata.is_file() { open_file(file, metadata.len(), store) } else { open_stream(Box::new(file), store) }
        }
        Source::Reader(reader) => open_stream(reader, store),
    }
}

fn open_file<'a>(mut file: File, total: u64, store: &ImageStore) -> Result<Opened<'a>, ImageError> {
    let start = read_start(&mut file)?;
    file.seek(SeekFrom::Start(0)).map_err(|error| ImageError::io("read the archive", error))?;
    let compression = recognise(&start)?;
    match (looks(&start, compression, store), compression) {
        (Looks::Root, _) => Ok(Opened::Root(RootTar { raw: Box::new(file), compression, total })),
        (Looks::Open, Compression::None) => open_archive(file, store),
        (Looks::Open, _) => open_archive(spool::spool(file, compression, store)?, store),
    }
}

fn open_stream<'a>(mut reader: Box<dyn Read + Send + 'a>, store: &ImageStore) -> Result<Opened<'a>, ImageError> {
    let start = read_start(&mut reader)?;
    let compression = recognise(&start)?;
    let looks = looks(&start, compression, store);
    let raw = Box::new(Cursor::new(start).chain(reader));
    match looks {
        Looks::Root => Ok(Opened::Root(RootTar { raw, compression, total: 0 })),
        Looks::Open => open_archive(spool::spool(raw, compression, store)?, store),
    }
}

/// `file` is a tar archive that can be read anywhere.
fn open_archive<'a>(file: File, store: &ImageStore) -> Result<Opened<'a>, ImageError> {
    let file = Arc::new(file);
    let whole = Section::whole(Arc::clone(&file))?;
    let mut archive = Archive::read(whole.clone(), store.limits());
    let is_image = archive.is_oci() || archive.is_docker_save();
    if let Some(error) = archive.broken().filter(|_| is_image) {
        return Err(error);
    }
    Ok(if archive.is_oci() {
        Opened::Oci(Container::Archive(archive))
    } else if archive.is_docker_save() {
        Opened::DockerSave(Container::Archive(archive))
    } else {
        Opened::Root(RootTar { total: whole.len(), raw: Box::new(whole), compression: Compression::None })
    })
}

fn recognise(start: &[u8]) -> Result<Compression, ImageError> {
    Compression::detect(start).map_err(|problem| ImageError::bad("the archive", problem))
}

fn looks(start: &[u8], compression: Compression, store: &ImageStore) -> Looks {
    let inflated = stream::inflate_start(start, compression, START, store.limits());
    archive::looks(&inflated, store.limits())
}

fn read_start(reader: &mut impl Read) -> Result<Vec<u8>, ImageError> {
    let mut start = Vec::with_capacity(START);
    let read = reader.by_ref().take(START as u64).read_to_end(&mut start);
    read.map_err(|error: io::Error| ImageError::from_read(error, "the archive"))?;
    Ok(start)
}
