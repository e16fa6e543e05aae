//! From a sandbox to a tar stream.

use std::io::{self, Write};

use chrono::DateTime;
use http_body_util::BodyExt;
use hyper::header::CONTENT_LENGTH;
use tar::{Builder, EntryType, Header};

use super::inside::{Entry, Inside, Kind, is_of_one_path};
use super::operand::{Ending, Place, child, join};
use super::{Skipped, missing};
use crate::console::Failure;

/// Everything in a tar archive is padded to blocks.
const BLOCK: u64 = 512;

/// Writes what is at a path as a tar archive to standard output: under its own name, or what is in it alone.
pub async fn pack(inside: &Inside<'_>, from: &Place<String>, skipped: &Skipped) -> Result<(), Failure> {
    let found = match from.ending {
        Ending::Name => inside.look(&from.path).await?.map(|entry| (from.path.clone(), entry)),
        Ending::Slash | Ending::Content => inside.follow(&from.path).await?,
    };
    let (path, entry) = found.ok_or_else(|| missing(&from.path))?;
    if from.ending != Ending::Name && entry.kind != Kind::Directory {
        return Err(Failure::Unusable {
            action: format!("copy {}", from.path),
            problem: "it is no directory".to_owned(),
        });
    }
    let name = from.name().filter(|_| from.ending != Ending::Content).unwrap_or(".").to_owned();
    let packing = Packing { inside, skipped };
    let mut left = vec![(path, name, entry)];
    while let Some((path, name, entry)) = left.pop() {
        match packing.one(&path, &name, &entry).await {
            Ok(()) => {}
            Err(failure) if is_of_one_path(&failure) || matches!(failure, Failure::Unusable { .. }) => {
                skipped.fail(&failure);
                continue;
            }
            Err(failure) => return Err(failure),
        }
        if entry.kind == Kind::Directory {
            left.extend(packing.children(&path, &name).await?.into_iter().rev());
        }
    }
    write(vec![0; 2 * BLOCK as usize]).await
}

struct Packing<'a> {
    inside: &'a Inside<'a>,
    skipped: &'a Skipped,
}

impl Packing<'_> {
    async fn children(&self, dir: &str, name: &str) -> Result<Vec<(String, String, Entry)>, Failure> {
        let entries = match self.inside.list(dir).await {
            Ok(entries) => entries,
            Err(failure) if is_of_one_path(&failure) => {
                self.skipped.fail(&failure);
                return Ok(Vec::new());
            }
            Err(failure) => return Err(failure),
        };
        let mut found = Vec::new();
        for entry in entries {
            match child(dir, &entry.path).map(str::to_owned) {
                Some(own) => found.push((join(dir, &own), join(name, &own), entry)),
                None => self.skipped.tell(&format!("{:?} is no name in the directory {dir}", entry.path)),
            }
        }
        Ok(found)
    }

    async fn one(&self, path: &str, name: &str, entry: &Entry) -> Result<(), Failure> {
        match (entry.kind, &entry.target) {
            (Kind::File, _) => self.file(path, name, entry).await,
            (Kind::Directory, _) => write(head(&format!("{name}/"), EntryType::Directory, 0, entry, path)?).await,
            (Kind::Symlink, Some(_)) => write(head(name, EntryType::Symlink, 0, entry, path)?).await,
            _ => Err(unusable(path, "it is no file, directory or link")),
        }
    }

    /// As long as the answer says, whatever the listing said: it may have grown since.
    async fn file(&self, path: &str, name: &str, entry: &Entry) -> Result<(), Failure> {
        let answer = self.inside.download(path).await?;
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let length = length.ok_or_else(|| unusable(path, "the daemon does not say how long it is"))?;
        write(head(name, EntryType::Regular, length, entry, path)?).await?;
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| Failure::Broken { action: format!("read {path}"), source })?;
            if let Ok(bytes) = frame.into_data() {
                write(bytes.to_vec()).await?;
            }
        }
        let padding = length.next_multiple_of(BLOCK) - length;
        write(vec![0; usize::try_from(padding).unwrap_or_default()]).await
    }
}

/// The blocks before the content, those for a long name among them.
fn head(name: &str, kind: EntryType, size: u64, entry: &Entry, path: &str) -> Result<Vec<u8>, Failure> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(entry.permissions());
    let seconds = DateTime::parse_from_rfc3339(&entry.modified_at).map_or(0, |time| time.timestamp());
    header.set_mtime(u64::try_from(seconds).unwrap_or_default());
    let number = |text: &str| text.parse().unwrap_or_default();
    header.set_uid(number(&entry.owner));
    header.set_gid(number(&entry.group));
    // A name that is too long for the archive is left out of it; the number stands for it.
    let named = |text: &str| text.parse::<u64>().is_err();
    if named(&entry.owner) {
        header.set_username(&entry.owner).unwrap_or_default();
    }
    if named(&entry.group) {
        header.set_groupname(&entry.group).unwrap_or_default();
    }
    let mut builder = Builder::new(Vec::new());
    let made = match &entry.target {
        Some(target) if kind == EntryType::Symlink => builder.append_link(&mut header, name, target),
        // The content comes later.
        _ => builder.append_data(&mut header, name, io::empty()),
    };
    made.map_err(|error| unusable(path, &format!("it cannot be put into an archive: {error}")))?;
    Ok(std::mem::take(builder.get_mut()))
}

fn unusable(path: &str, problem: &str) -> Failure {
    Failure::Unusable { action: format!("copy {path}"), problem: problem.to_owned() }
}

/// A reader that is slow holds up nothing else.
async fn write(bytes: Vec<u8>) -> Result<(), Failure> {
    let write = move || {
        let mut out = io::stdout().lock();
        out.write_all(&bytes).and_then(|()| out.flush())
    };
    let done = tokio::task::spawn_blocking(write).await;
    Ok(done.unwrap_or_else(|lost| Err(io::Error::other(lost)))?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_reader_of_tar_finds_what_was_packed() {
        let entry = |kind: &str, target: Option<&str>| -> Entry {
            let entry = json!({"path": "/x", "type": kind, "mode": 4751, "target": target, "owner": "www", "group": "77",
                "modified_at": "2020-01-01T00:00:01Z"});
            serde_json::from_value(entry).expect("an entry")
        };
        let long = format!("d/{}/e", "n".repeat(150));
        let mut archive = head("d/", EntryType::Directory, 0, &entry("directory", None), "/x").expect("a head");
        archive.extend(head(&long, EntryType::Regular, 3, &entry("file", None), "/x").expect("a head"));
        archive.extend([b"abc".as_slice(), &[0; 509]].concat());
        archive.extend(head("d/l", EntryType::Symlink, 0, &entry("symlink", Some("../a")), "/x").expect("a head"));
        archive.extend([0; 1024]);
        let mut reader = tar::Archive::new(archive.as_slice());
        let mut found = Vec::new();
        for item in reader.entries().expect("an archive") {
            let mut item = item.expect("an entry");
            let mut content = String::new();
            item.read_to_string(&mut content).expect("its content");
            let link = item.link_name().expect("readable").map(|path| path.display().to_string());
            let header = item.header();
            assert_eq!(
                (header.mode().ok(), header.mtime().ok(), header.gid().ok()),
                (Some(0o751), Some(1_577_836_801), Some(77))
            );
            assert_eq!(header.username().ok().flatten(), Some("www"));
            found.push((item.path().expect("a path").display().to_string(), content, link));
        }
        let text = str::to_owned;
        assert_eq!(
            found,
            [
                (text("d/"), String::new(), None),
                (long, text("abc"), None),
                (text("d/l"), String::new(), Some(text("../a"))),
            ]
        );
    }
}
