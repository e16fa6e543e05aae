//! The bytes of an import: a file as it is, or a layout directory as a tar made on the fly.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame};
use tokio::sync::mpsc;

use super::progress::Progress;
use crate::console::Failure;
use crate::console::client::Body;

/// Large enough that the way through the channel costs nothing beside the copying.
const PIECE: usize = 256 << 10;

/// Pieces between the reader and the connection: one is sent, one waits, one is filled.
const PIECES: usize = 2;

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

    fn copy(self, out: &mut Pieces) -> io::Result<()> {
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
    let (sender, receiver) = mpsc::channel(PIECES);
    // The thread ends with its source, or when nobody takes the pieces any more.
    drop(tokio::task::spawn_blocking(move || fill(source, sender, progress)));
    Received(receiver).boxed()
}

fn fill(source: Source, sender: mpsc::Sender<io::Result<Bytes>>, progress: Arc<Progress>) {
    let mut pieces = Pieces { sender, progress, piece: Vec::with_capacity(PIECE) };
    let done = source.copy(&mut pieces).and_then(|()| pieces.flush());
    match done {
        Ok(()) => pieces.progress.sent(),
        // A receiver that is gone has had its answer, which tells more than this error.
        Err(error) => drop(pieces.sender.blocking_send(Err(error))),
    }
}

/// Collects what is written into pieces and sends them.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    progress: Arc<Progress>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE.saturating_sub(self.piece.len()).min(bytes.len());
        self.piece.extend_from_slice(bytes.get(..room).unwrap_or_default());
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let full = mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.progress.add(full.len() as u64);
        self.sender.blocking_send(Ok(Bytes::from(full))).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The pieces as the body of a request.
struct Received(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
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

    #[tokio::test]
    async fn a_body_carries_every_byte() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("big");
        let bytes: Vec<u8> = (0..PIECE * 3 + 17).map(|at| u8::try_from(at % 251).expect("small")).collect();
        fs::write(&path, &bytes).expect("written");
        let progress = Arc::new(Progress::start("big", None));
        let body = body(Source::open(&path).expect("opened"), progress);
        assert_eq!(body.collect().await.expect("collected").to_bytes(), bytes);
    }
}
