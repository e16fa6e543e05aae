//! From the host to a sandbox: first the directories, then everything else in one request, streamed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gather::{self, Directory, Source};
use super::inside::{Found, Inside};
use super::operand::{Ending, Place, join};
use super::tree::Tree;
use super::{Skipped, missing, onto_file, refuse};
use crate::console::{Failure, stream};

/// Directories that are named at a time: a request for them stays small.
const BATCH: usize = 200;

pub async fn upload(
    inside: &Inside<'_>,
    from: &Place<PathBuf>,
    to: &Place<String>,
    skipped: &Skipped,
) -> Result<(), Failure> {
    let about = match from.ending {
        Ending::Name => fs::symlink_metadata(&from.path),
        Ending::Slash | Ending::Content => fs::metadata(&from.path),
    };
    let is_dir = about.map_err(unreadable(&from.path))?.is_dir();
    if !is_dir && from.ending != Ending::Name {
        return Err(refuse(format!("{} is no directory", from.path.display())));
    }
    let room = room(inside, from, to, is_dir).await?;
    let from = from.path.as_path();
    let sending = Sending { inside, from, skipped };
    if is_dir { sending.directory(room).await } else { sending.file(room).await }
}

/// Where the source will be.
struct Room {
    path: String,
    /// A directory that is there and stays as it is.
    is_there: bool,
}

async fn room(inside: &Inside<'_>, from: &Place<PathBuf>, to: &Place<String>, is_dir: bool) -> Result<Room, Failure> {
    let new = |path: String| Room { path, is_there: false };
    match inside.found(&to.path).await? {
        Found::Directory if from.ending == Ending::Content => Ok(Room { path: to.path.clone(), is_there: true }),
        Found::Directory => match from.path.file_name().and_then(|name| name.to_str()) {
            Some(name) => Ok(new(join(&to.path, name))),
            None => Err(refuse(format!("the name of {} is not UTF-8; give a new one in DST", from.path.display()))),
        },
        Found::File if is_dir || to.ending != Ending::Name => Err(onto_file(&to.path)),
        Found::File => Ok(new(to.path.clone())),
        Found::Nothing if !is_dir && to.ending != Ending::Name => Err(missing(&to.path)),
        Found::Nothing => {
            let parent = to.path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty());
            match inside.found(parent.unwrap_or("/")).await? {
                Found::Directory => Ok(new(to.path.clone())),
                _ => Err(refuse(format!("the directory for {} is not there in the sandbox", to.path))),
            }
        }
    }
}

struct Sending<'a> {
    inside: &'a Inside<'a>,
    from: &'a Path,
    skipped: &'a Skipped,
}

impl Sending<'_> {
    async fn file(&self, room: Room) -> Result<(), Failure> {
        let parent = self.from.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let tree = Tree::open(parent).map_err(unreadable(parent))?;
        let name = self.from.file_name().map(PathBuf::from).unwrap_or_default();
        self.send(Arc::new(tree), Source::One(name, room.path)).await
    }

    async fn directory(&self, room: Room) -> Result<(), Failure> {
        let tree = Arc::new(Tree::open(self.from).map_err(unreadable(self.from))?);
        let dirs = {
            let (tree, skipped) = (Arc::clone(&tree), self.skipped.clone());
            let found = tokio::task::spawn_blocking(move || gather::directories(&tree, room.path, &skipped)).await;
            found.unwrap_or_else(|lost| Err(io::Error::other(lost))).map_err(unreadable(self.from))?
        };
        for batch in dirs.chunks(BATCH) {
            // Until everything is in them, the owner may write.
            let wanted: Vec<_> = batch.iter().map(|dir| (dir.path.clone(), dir.mode | 0o700)).collect();
            self.inside.make(&wanted).await?;
        }
        let closed = closed(&dirs, room.is_there);
        self.send(tree, Source::Directories(dirs)).await?;
        for batch in closed.chunks(BATCH) {
            self.inside.change(batch).await?;
        }
        Ok(())
    }

    async fn send(&self, tree: Arc<Tree>, source: Source) -> Result<(), Failure> {
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let any = Arc::new(AtomicBool::new(false));
        let body = {
            let (boundary, any, skipped) = (boundary.clone(), Arc::clone(&any), self.skipped.clone());
            stream::body(move |pieces| gather::send(&tree, &source, pieces, &boundary, &skipped, &any))
        };
        let action = format!("copy {}", self.from.display());
        match self.inside.upload(body, &boundary, action).await {
            // There was nothing to send, and a body without parts is refused.
            Err(Failure::Refused { code, .. }) if code == "INVALID_FILE_METADATA" && !any.load(Ordering::Relaxed) => {
                Ok(())
            }
            done => done,
        }
    }
}

/// Directories that not even their owner may write, the innermost first.
fn closed(dirs: &[Directory], first_is_there: bool) -> Vec<(String, u32)> {
    let new = dirs.iter().skip(usize::from(first_is_there)).rev();
    new.filter(|dir| dir.mode & 0o700 != 0o700).map(|dir| (dir.path.clone(), dir.mode)).collect()
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { action: "copy", path, source }
}
