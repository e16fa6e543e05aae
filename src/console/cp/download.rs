//! From a sandbox to the host. What a sandbox says of its files is not trusted: names are checked, links are made but not
//! followed, and nothing but files, directories and links is taken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;

use super::inside::{Entry, Inside, Kind, is_of_one_path};
use super::operand::{Ending, Place, child, join};
use super::tree::Tree;
use super::{Skipped, missing, onto_file};
use crate::console::Failure;

pub async fn download(
    inside: &Inside<'_>,
    from: &Place<String>,
    to: &Place<PathBuf>,
    skipped: &Skipped,
) -> Result<(), Failure> {
    let found = match from.ending {
        Ending::Name => inside.look(&from.path).await?.map(|entry| (from.path.clone(), entry)),
        Ending::Slash | Ending::Content => inside.follow(&from.path).await?,
    };
    let (path, entry) = found.ok_or_else(|| missing(&from.path))?;
    if entry.kind == Kind::Directory {
        let (tree, below) = room_for_directory(from, to)?;
        return Directories { inside, tree, skipped }.copy(path, below, &entry).await;
    }
    if from.ending != Ending::Name {
        return Err(unusable(format!("copy {}", from.path), "it is no directory"));
    }
    let (tree, below) = room_for_file(from, to)?;
    one(inside, &entry, &path, &tree, &below).await
}

/// The tree into which a directory goes, and the path in it where it will be.
fn room_for_directory(from: &Place<String>, to: &Place<PathBuf>) -> Result<(Tree, PathBuf), Failure> {
    match fs::metadata(&to.path) {
        Ok(about) if about.is_dir() => {
            let name = from.name().filter(|_| from.ending != Ending::Content).unwrap_or_default();
            Ok((open(&to.path)?, PathBuf::from(name)))
        }
        Ok(_) => Err(onto_file(&to.path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => new_name(&to.path),
        Err(error) => Err(failed("look at", &to.path)(error)),
    }
}

/// As [`room_for_directory`], for anything else.
fn room_for_file(from: &Place<String>, to: &Place<PathBuf>) -> Result<(Tree, PathBuf), Failure> {
    match fs::metadata(&to.path) {
        Ok(about) if about.is_dir() => Ok((open(&to.path)?, PathBuf::from(from.name().unwrap_or_default()))),
        Ok(_) => new_name(&fs::canonicalize(&to.path).map_err(failed("look at", &to.path))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound && to.ending == Ending::Name => new_name(&to.path),
        Err(error) => Err(failed("copy into the directory", &to.path)(error)),
    }
}

fn new_name(path: &Path) -> Result<(Tree, PathBuf), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| failed("copy to", path)(io::ErrorKind::NotFound.into()))?;
    Ok((open(parent)?, PathBuf::from(name)))
}

fn open(path: &Path) -> Result<Tree, Failure> {
    Tree::open(path).map_err(failed("open the directory", path))
}

/// Copies what is no directory.
async fn one(inside: &Inside<'_>, entry: &Entry, path: &str, tree: &Tree, below: &Path) -> Result<(), Failure> {
    match (entry.kind, &entry.target) {
        (Kind::File, _) => file(inside, entry, path, tree, below).await,
        (Kind::Symlink, Some(target)) => tree.link(below, target).map_err(failed("make the link", &tree.shown(below))),
        _ => Err(unusable(format!("copy {path}"), "it is no file, directory or link")),
    }
}

async fn file(inside: &Inside<'_>, entry: &Entry, path: &str, tree: &Tree, below: &Path) -> Result<(), Failure> {
    let mut body = inside.download(path).await?.into_body();
    let shown = tree.shown(below);
    let mut pending = tree.begin(below).map_err(failed("write", &shown))?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| Failure::Broken { action: format!("read {path}"), source })?;
        if let Ok(bytes) = frame.into_data() {
            pending.write(&bytes).await.map_err(failed("write", &shown))?;
        }
    }
    pending.keep(entry.permissions()).await.map_err(failed("write", &shown))
}

struct Directories<'a> {
    inside: &'a Inside<'a>,
    tree: Tree,
    skipped: &'a Skipped,
}

impl Directories<'_> {
    /// Copies a directory with all that is in it to a place in the tree.
    async fn copy(&self, path: String, below: PathBuf, entry: &Entry) -> Result<(), Failure> {
        let mut modes = Vec::new();
        if !below.as_os_str().is_empty() {
            self.make(&below, entry, &mut modes).map_err(failed("make the directory", &self.tree.shown(&below)))?;
        }
        let mut left = vec![(path, below)];
        while let Some((dir, below)) = left.pop() {
            let entries = match self.inside.list(&dir).await {
                Ok(entries) => entries,
                Err(failure) => {
                    self.pass_over(failure)?;
                    continue;
                }
            };
            for entry in entries {
                let Some(name) = child(&dir, &entry.path) else {
                    self.skipped.tell(&format!("{:?} is no name in the directory {dir}", entry.path));
                    continue;
                };
                let (path, below) = (join(&dir, name), below.join(name));
                if entry.kind != Kind::Directory {
                    one(self.inside, &entry, &path, &self.tree, &below)
                        .await
                        .or_else(|failure| self.pass_over(failure))?;
                    continue;
                }
                match self.make(&below, &entry, &mut modes) {
                    Ok(()) => left.push((path, below)),
                    Err(error) => self.pass_over(failed("make the directory", &self.tree.shown(&below))(error))?,
                }
            }
        }
        // The innermost first: one that may not be entered any more would hide them.
        for (below, mode) in modes.iter().rev() {
            let done = self.tree.permit(below, *mode).map_err(failed("set the mode of", &self.tree.shown(below)));
            done.or_else(|failure| self.pass_over(failure))?;
        }
        Ok(())
    }

    /// The mode of a new directory comes last, so that it may be one that forbids writing.
    fn make(&self, below: &Path, entry: &Entry, modes: &mut Vec<(PathBuf, u32)>) -> io::Result<()> {
        if self.tree.make_directory(below)? {
            modes.push((below.to_owned(), entry.permissions()));
        }
        Ok(())
    }

    /// Goes on after a failure that concerns one path alone.
    fn pass_over(&self, failure: Failure) -> Result<(), Failure> {
        let one_path = match &failure {
            Failure::Unusable { .. } => true,
            Failure::File { source, .. } => !is_of_everything(source.kind()),
            other => is_of_one_path(other),
        };
        if !one_path {
            return Err(failure);
        }
        self.skipped.fail(&failure);
        Ok(())
    }
}

/// The next file would not fare better.
fn is_of_everything(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::File { action, path, source }
}

fn unusable(action: String, problem: &str) -> Failure {
    Failure::Unusable { action, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::console::{Address, Client};

    /// What a sandbox that means ill could say of its files.
    fn hostile(request: &str, outside: &str) -> Value {
        let entry = |path: &str, kind: &str, target: Option<&str>| json!({"path": path, "type": kind, "mode": 4755, "size": 4, "target": target});
        if request.contains("/files/info") {
            return json!({ "/src": entry("/src", "directory", None) });
        }
        if request.contains("path=%2Fsrc&") {
            let names =
                ["/src/..", "/src/../evil", "/src/../../evil", "/evil", "evil", "/src/", "/src/a/b", "/src/a\0b", ""];
            let mut entries: Vec<_> = names.iter().map(|path| entry(path, "file", None)).collect();
            entries.push(entry(&format!("{outside}/evil"), "file", None));
            entries.push(entry("/src/../outside", "directory", None));
            entries.push(entry("/src/way", "symlink", Some(outside)));
            entries.push(entry("/src/way", "directory", None));
            entries.push(entry("/src/dir", "directory", None));
            entries.push(entry("/src/dir", "symlink", Some(outside)));
            entries.push(entry("/src/device", "other", None));
            entries.push(entry("/src/good", "file", None));
            return Value::from(entries);
        }
        json!([entry("/src/dir/evil", "symlink", Some(outside)), entry("/src/dir/evil", "directory", None)])
    }

    async fn answer(mut stream: UnixStream, outside: &str) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let body = match request.contains("/files/download") {
            true => "evil".to_owned(),
            false => hostile(&request, outside).to_string(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await
    }

    #[tokio::test]
    async fn a_hostile_listing_leads_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("to")).expect("made");
        fs::create_dir(at("outside")).expect("made");
        let listener = UnixListener::bind(at("socket")).expect("bound");
        let outside = at("outside").display().to_string();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &outside).await.expect("answered");
            }
        });
        let client = Client::new(Address::Unix(at("socket")), None).expect("a client");
        let inside = Inside { client: &client, id: "id".to_owned() };
        let from = Place { path: "/src".to_owned(), ending: Ending::Content };
        let skipped = Skipped::default();
        download(&inside, &from, &Place { path: at("to"), ending: Ending::Name }, &skipped).await.expect("copied");
        server.abort();
        let names = |dir: &str| {
            let mut names: Vec<_> =
                fs::read_dir(at(dir)).expect("read").flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        assert_eq!((names(""), names("outside").len()), (vec!["outside".into(), "socket".into(), "to".into()], 0));
        assert_eq!(
            (names("to"), names("to/dir")),
            (vec!["dir".into(), "good".into(), "way".into()], vec!["evil".into()])
        );
        assert_eq!(fs::read_to_string(at("to/good")).expect("read"), "evil");
        assert_eq!(fs::metadata(at("to/good")).expect("there").permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(at("outside")).expect("there").permissions().mode() & 0o700, 0o700);
        assert!(fs::symlink_metadata(at("to/way")).expect("there").is_symlink());
        assert_eq!(skipped.count(), 15);
    }
}
