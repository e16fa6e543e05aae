//! `POST /files/replace`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::{Visitor, failure};
use crate::api::error::ApiError;
use crate::api::fields::{Fields, shown};
use crate::api::json::JsonBody;
use crate::api::query::Query;
use crate::sandbox::files::{FileRequest, Lease, Permission};

const BUFFER: usize = 256 << 10;
/// Longer ones are refused: each keeps a thread of the daemon until its end.
const LONGEST: u64 = 1 << 30;
/// Files up to this size are changed in memory.
const IN_MEMORY: usize = 8 << 20;

#[derive(Debug, Serialize)]
struct Replaced {
    #[serde(rename = "replacedCount")]
    count: u64,
}

#[derive(Debug)]
struct Order {
    path: String,
    old: String,
    new: String,
}

/// Replaces every occurrence in each file; one without any stays untouched.
pub async fn replace(visitor: Visitor, query: Query, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let verbose = query.flag("verbose").map_err(|error| failure::invalid(error.into_message()))?;
    let map = body.as_object().ok_or_else(|| failure::invalid("The request body must be a JSON object."))?;
    let orders = map.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut lease = visitor.lease().await?;
    let mut counts = BTreeMap::new();
    for order in orders {
        let path = order.path.clone();
        counts.insert(path, Replaced { count: one(order, &mut lease).await? });
    }
    Ok(if verbose { Json(counts).into_response() } else { StatusCode::OK.into_response() })
}

fn parse((path, value): (&String, &Value)) -> Result<Order, ApiError> {
    let wrong = |error: ApiError| failure::invalid(error.into_message());
    let fields = Fields::at(shown(path), value).map_err(wrong)?;
    let text = |name| fields.text(name).map_err(wrong).map(|text| text.unwrap_or_default().to_owned());
    let (old, new) = (text("old")?, text("new")?);
    if old.is_empty() {
        return Err(failure::invalid(format!("{} must not be empty.", fields.name("old"))));
    }
    Ok(Order { path: failure::path(path)?.to_owned(), old, new })
}

async fn one(order: Order, lease: &mut Lease) -> Result<u64, ApiError> {
    let Order { path, old, new } = order;
    let read = FileRequest::Read { path: path.clone() };
    let (_, source) = lease.open(read).await?;
    if source.metadata().is_ok_and(|about| about.len() > LONGEST) {
        return Err(failure::invalid(format!("{path} is longer than {LONGEST} bytes; change it with a command.")));
    }
    let looked = move || {
        let mut content = Kept(Some(Vec::new()));
        let count = pour(&source, &mut content, old.as_bytes(), new.as_bytes())?;
        Ok((count, content.0, (source, old, new)))
    };
    let (count, content, (source, old, new)) = blocking(looked).await?;
    if count == 0 {
        return Ok(0);
    }
    // A large one is read while it is written, so it cannot be the same file.
    let write = FileRequest::Write { path, permission: Permission::default(), in_place: content.is_some() };
    let (_, mut target) = lease.open(write).await?;
    let count = blocking(move || match content {
        Some(content) => target.write_all(&content).map(|()| count),
        None => pour(&source, &target, old.as_bytes(), new.as_bytes()),
    });
    let count = count.await?;
    lease.done(FileRequest::Keep).await?;
    Ok(count)
}

/// What is written to it, as long as it is not too much.
struct Kept(Option<Vec<u8>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.take().filter(|kept| kept.len() + bytes.len() <= IN_MEMORY);
        self.0.iter_mut().for_each(|kept| kept.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(act).await.unwrap_or_else(|lost| Err(io::Error::other(lost)));
    done.map_err(|error| failure::internal(&format!("replace the content: {error}")))
}

/// Copies from the beginning, with every occurrence replaced, and says how many there were. The file may be larger than
/// memory, and an occurrence may lie across two reads.
fn pour(mut source: &File, target: impl Write, old: &[u8], new: &[u8]) -> io::Result<u64> {
    io::Seek::seek(&mut source, io::SeekFrom::Start(0))?;
    copy(source, target, old, new)
}

fn copy(mut source: impl Read, target: impl Write, old: &[u8], new: &[u8]) -> io::Result<u64> {
    let mut target = BufWriter::with_capacity(BUFFER, target);
    let finder = memchr::memmem::Finder::new(old);
    let (mut count, mut held, mut total) = (0, Vec::new(), 0);
    loop {
        let read = source.by_ref().take(BUFFER as u64).read_to_end(&mut held)?;
        total += read as u64;
        if total > LONGEST {
            return Err(io::Error::other("it grows while it is read"));
        }
        let mut done = 0;
        while let Some(at) = finder.find(held.get(done..).unwrap_or_default()) {
            target.write_all(held.get(done..done + at).unwrap_or_default())?;
            target.write_all(new)?;
            done += at + old.len();
            count += 1;
        }
        // The beginning of an occurrence may stand at the end; at the end of the file there is none.
        let kept = if read == 0 { 0 } else { (held.len() - done).min(old.len() - 1) };
        let sure = held.len() - kept;
        target.write_all(held.get(done..sure).unwrap_or_default())?;
        held.drain(..sure);
        if read == 0 {
            return target.flush().map(|()| count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives little at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(3).min(buffer.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    #[test]
    fn it_is_the_same_as_replacing_in_memory() {
        let long = "ab".repeat(300_000) + "needle" + &"x".repeat(262_141) + "needle";
        for (text, old, new) in [
            ("aaaa", "aa", "b"),
            ("aaaaa", "aa", ""),
            ("", "a", "b"),
            ("abc", "abcd", "x"),
            ("one two one", "one", "longer than one"),
            (long.as_str(), "needle", "pin"),
            (long.as_str(), "ba", "."),
        ] {
            let mut out = Vec::new();
            let count = copy(Drops(text.as_bytes()), &mut out, old.as_bytes(), new.as_bytes()).expect("copied");
            assert!(String::from_utf8(out).expect("text") == text.replace(old, new), "{old} by {new}");
            assert_eq!(count, text.matches(old).count() as u64);
        }
    }
}
