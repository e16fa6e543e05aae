//! `bivouac image export`: an image as an OCI layout directory, or as an archive of one.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use tokio::sync::mpsc;

use super::layout;
use crate::console::client::{Call, encoded};
use crate::console::{Client, Failure, screen};

/// Pieces between the connection and whoever writes them.
const PIECES: usize = 4;

#[derive(Debug, Args)]
pub struct Export {
    /// Name of the image
    #[arg(value_name = "NAME")]
    pub name: String,

    /// A directory for an OCI layout, which must not be there or be empty; FILE.tar for an archive of it; - for that on
    /// standard output
    #[arg(value_name = "DEST")]
    pub to: PathBuf,
}

/// Where the image goes.
enum Target {
    Output,
    Archive(PathBuf),
    Layout(PathBuf),
}

/// Writes the image and prints where it is. What is at DEST is whole, or not there.
///
/// # Errors
/// When there is no such image, or DEST cannot be written.
pub async fn export(client: &Client, args: &Export) -> Result<(), Failure> {
    let target = Target::of(&args.to)?;
    let action = format!("export {}", args.name);
    let path = format!("/v1/images/export?name={}", encoded(&args.name));
    let answer = client.answer(Call::new(Method::GET, path, action.clone())).await?;
    let (pieces, receiver) = mpsc::channel(PIECES);
    let reader = Received { pieces: receiver, rest: Bytes::new() };
    let writing = tokio::task::spawn_blocking(move || target.take(reader));
    let (received, written) = tokio::join!(receive(answer.into_body(), pieces, &action), writing);
    let written = written.unwrap_or_else(|panic| Err(Failure::Output(io::Error::other(panic))));
    // A connection that broke is the cause, and the writer's complaint what follows of it.
    received.and(written)?;
    if args.to.as_os_str() != "-" {
        screen::line(&args.to.display().to_string())?;
    }
    Ok(())
}

/// `None` is the end that was meant; without one, the archive broke off.
async fn receive(mut body: Incoming, pieces: mpsc::Sender<Option<Bytes>>, action: &str) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| Failure::Broken { action: action.to_owned(), source })?;
        let Ok(bytes) = frame.into_data() else { continue };
        if !bytes.is_empty() && pieces.send(Some(bytes)).await.is_err() {
            // Who writes has failed, and says why.
            return Ok(());
        }
    }
    drop(pieces.send(None).await);
    Ok(())
}

/// What the connection gives, for a thread that may block.
struct Received {
    pieces: mpsc::Receiver<Option<Bytes>>,
    rest: Bytes,
}

impl io::Read for Received {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Some(bytes)) => self.rest = bytes,
                Some(None) => {
                    self.pieces.close();
                    return Ok(0);
                }
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive broke off")),
            }
        }
        let taken = self.rest.split_to(into.len().min(self.rest.len()));
        // Both have the same length.
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

impl Target {
    fn of(to: &Path) -> Result<Self, Failure> {
        let refused = |problem: &str| {
            Err(Failure::Unusable { action: format!("export to {}", to.display()), problem: problem.to_owned() })
        };
        if to.as_os_str() == "-" {
            return match io::stdout().is_terminal() {
                true => refused("an archive does not belong on a terminal; redirect the output, or name a file"),
                false => Ok(Self::Output),
            };
        }
        if to.extension().is_some_and(|extension| extension == "tar") {
            return if to.is_dir() { refused("it is a directory") } else { Ok(Self::Archive(to.to_owned())) };
        }
        let is_free = match fs::read_dir(to) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        match is_free {
            true => Ok(Self::Layout(to.to_owned())),
            false => refused("there is something already; name a new or empty directory, or a file that ends in .tar"),
        }
    }

    fn take(self, mut from: Received) -> Result<(), Failure> {
        match self {
            Self::Output => {
                let mut out = io::stdout().lock();
                io::copy(&mut from, &mut out).and_then(|_| out.flush()).map_err(Failure::Output)
            }
            Self::Archive(path) => {
                let failed = |source| Failure::File { action: "write the archive", path: path.clone(), source };
                let beside = Beside::of(&path);
                let mut file = File::create_new(&beside.0).map_err(failed)?;
                io::copy(&mut from, &mut file).and_then(|_| file.sync_all()).map_err(failed)?;
                fs::rename(&beside.0, &path).map_err(failed)
            }
            Self::Layout(path) => {
                let failed = |source| Failure::File { action: "write the layout", path: path.clone(), source };
                let beside = Beside::of(&path);
                fs::create_dir(&beside.0).map_err(failed)?;
                layout::unpack(from, &beside.0).map_err(failed)?;
                // An empty directory gives way (`rename(2)`).
                fs::rename(&beside.0, &path).map_err(failed)
            }
        }
    }
}

/// A new name beside the target; what still has it in the end goes.
struct Beside(PathBuf);

impl Beside {
    fn of(path: &Path) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", uuid::Uuid::new_v4().simple()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // The usual case is that there is nothing.
        match fs::symlink_metadata(&self.0) {
            Ok(found) if found.is_dir() => drop(fs::remove_dir_all(&self.0)),
            Ok(_) => drop(fs::remove_file(&self.0)),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(Target::of(&dir.path().join("new")), Ok(Target::Layout(_))));
        assert!(matches!(Target::of(dir.path()), Ok(Target::Layout(_))), "an empty one may be filled");
        assert!(matches!(Target::of(&dir.path().join("x.tar")), Ok(Target::Archive(_))));
        fs::create_dir(dir.path().join("y.tar")).expect("made");
        for path in [dir.path().to_owned(), dir.path().join("y.tar")] {
            assert!(Target::of(&path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn what_broke_off_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["x.tar", "layout"] {
            let (pieces, receiver) = mpsc::channel(PIECES);
            pieces.try_send(Some(Bytes::from_static(b"begun"))).expect("sent");
            drop(pieces);
            let target = Target::of(&dir.path().join(name)).expect("free");
            assert!(target.take(Received { pieces: receiver, rest: Bytes::new() }).is_err());
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 0);
    }
}
