//! Bodies that are made while they are sent: lists of files, and content.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

use super::content::FileInfo;
use crate::api::error::ApiError;
use crate::api::stream::ChannelBody;
use crate::sandbox::files::{FileEntry, FileRequest, Lease};

/// Large enough that going to another thread for each costs nothing beside the copying.
pub const PIECE: u64 = 512 << 10;

/// A list of any length as a JSON array. What goes wrong before its first part is a refusal; later it breaks the
/// connection off.
pub async fn entries(mut lease: Lease, request: FileRequest) -> Result<Response, ApiError> {
    lease.list(request)?;
    let mut next = lease.next().await?;
    let (sender, pieces) = mpsc::channel(2);
    tokio::spawn(async move {
        let mut head = "[";
        while let Some(entries) = next {
            let piece = json(head, entries);
            head = ",";
            if sender.send(piece).await.is_err() {
                return;
            }
            next = match lease.next().await {
                Ok(next) => next,
                Err(error) => return drop(sender.send(Err(io::Error::other(error))).await),
            };
        }
        let end = if head == "[" { "[]" } else { "]" };
        drop(sender.send(Ok(Bytes::from_static(end.as_bytes()))).await);
    });
    let body = Body::new(ChannelBody::new(pieces, std::convert::identity));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn json(head: &str, entries: Vec<FileEntry>) -> io::Result<Bytes> {
    let mut bytes = Vec::from(head);
    for (at, entry) in entries.into_iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        serde_json::to_writer(&mut bytes, &FileInfo::from(entry))?;
    }
    Ok(bytes.into())
}

/// A part of a file. No thread waits for a slow client: the next piece is read when there is room for it. A file that has
/// become shorter meanwhile breaks the connection off.
pub fn part(file: File, from: u64, length: u64) -> Body {
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let (file, mut left) = (Arc::new(file), length);
        while left > 0 {
            let Ok(room) = sender.reserve().await else { return };
            let (source, at, most) = (Arc::clone(&file), from + (length - left), left.min(PIECE));
            let read = tokio::task::spawn_blocking(move || read(&source, at, most)).await;
            let piece = read.unwrap_or_else(|lost| Err(io::Error::other(lost)));
            match piece {
                Ok(piece) if !piece.is_empty() => {
                    left -= piece.len() as u64;
                    room.send(Ok(piece));
                }
                Ok(_) => return room.send(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => return room.send(Err(error)),
            }
        }
    });
    Body::new(ChannelBody::new(pieces, std::convert::identity))
}

/// At most so many bytes; none at the end of the file.
pub fn read(mut file: &File, at: u64, most: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
    file.seek(SeekFrom::Start(at))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
