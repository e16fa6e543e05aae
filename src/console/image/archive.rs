//! The bytes of an import: a file as it is, or a layout directory as a tar made on the fly.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::progress::Progress;
use crate::console::Failure;
use crate::console::client::Body;
use crate::console::stream::{self, Pieces};

/// What to send.
#[derive(Debug)]
pub enum Source {
    File(File, Option<u64>),
    Stdin,
    Layout(PathBuf),
}

impl Source {
    /// Opens what is to be imported.
    ///
    /// # Errors
    /// When it is not there, or is a directory without an OCI layout.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdin);
        }
        let failed = |source| Failure::File { action: "open the image", path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        match about.is_dir() {
            true if path.join("oci-layout").is_file() => Ok(Self::Layout(path.to_owned())),
            true => Err(not_a_layout(path)),
            false => Ok(Self::File(file, about.is_file().then_some(about.len()))),
        }
    }

    /// How many bytes will be sent, where that is known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::File(_, size) => *size,
            Self::Stdin | Self::Layout(_) => None,
        }
    }

    fn copy(self, out: &mut Counted<'_>) -> io::Result<()> {
        match self {
            Self::File(mut file, _) => io::copy(&mut file, out).map(drop),
            Self::Stdin => io::copy(&mut io::stdin().lock(), out).map(drop),
            Self::Layout(dir) => pack(&dir, out),
        }
    }
}

fn not_a_layout(path: &Path) -> Failure {
    Failure::Unusable {
        action: format!("import {}", path.display()),
        problem: "the directory has no file oci-layout, so it is no OCI layout; a plain root goes in as a tar: \
                  tar --numeric-owner -C DIR -c . | bivouac image import - --name NAME"
            .to_owned(),
    }
}

/// A body that a thread fills from `source`, no faster than the connection takes it.
pub fn body(source: Source, progress: Arc<Progress>) -> Body {
    stream::body(move |pieces| {
        source.copy(&mut Counted { pieces, progress: &progress })?;
        pieces.flush()?;
        progress.sent();
        Ok(())
    })
}

/// Shows how much has been written.
struct Counted<'a> {
    pieces: &'a mut Pieces,
    progress: &'a Progress,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.pieces.write(bytes)?;
        self.progress.add(taken as u64);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pieces.flush()
    }
}

/// Writes an OCI image layout as the tar that the specification calls an archive of it: the index and the blobs, and
/// nothing else that may lie in the directory.
fn pack<W: Write>(dir: &Path, out: W) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    tar.mode(tar::HeaderMode::Deterministic);
    for name in ["oci-layout", "index.json"] {
        tar.append_path_with_name(dir.join(name), name)?;
    }
    for algorithm in sorted(&dir.join("blobs"))? {
        for blob in sorted(&dir.join("blobs").join(&algorithm))? {
            let name = Path::new("blobs").join(&algorithm).join(&blob);
            tar.append_path_with_name(dir.join(&name), &name)?;
        }
    }
    tar.into_inner().map(drop)
}

fn sorted(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names: Vec<OsString> = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("blobs/sha256")).expect("blobs");
        for (name, text) in [
            ("oci-layout", "{}"),
            ("index.json", "[]"),
            ("blobs/sha256/b", "two"),
            ("blobs/sha256/a", "one"),
            ("stray", "x"),
        ] {
            fs::write(dir.path().join(name), text).expect("a file");
        }
        dir
    }

    #[test]
    fn a_layout_becomes_a_tar_of_its_index_and_blobs() {
        let mut out = Vec::new();
        pack(layout().path(), &mut out).expect("packed");
        let mut archive = tar::Archive::new(out.as_slice());
        let names: Vec<String> = archive
            .entries()
            .expect("entries")
            .map(|e| e.expect("entry").path().expect("path").display().to_string())
            .collect();
        assert_eq!(names, ["oci-layout", "index.json", "blobs/sha256/a", "blobs/sha256/b"]);
    }

    #[test]
    fn sources_are_told_apart() {
        let dir = layout();
        assert!(matches!(Source::open(dir.path()), Ok(Source::Layout(_))));
        assert!(matches!(Source::open(&dir.path().join("stray")), Ok(Source::File(_, Some(1)))));
        assert!(matches!(Source::open(Path::new("-")), Ok(Source::Stdin)));
        let refused = Source::open(&dir.path().join("blobs")).map(|_| ()).expect_err("no layout");
        assert!(refused.line().contains("tar --numeric-owner"), "{}", refused.line());
        let missing = Source::open(&dir.path().join("none")).map(|_| ()).expect_err("nothing there");
        assert!(missing.line().contains("No such file"), "{}", missing.line());
    }
}
