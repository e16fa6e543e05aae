//! `POST /files/upload`: any number of files, each a part `metadata` and a part `file`.
//!
//! The n-th description is that of the n-th file, in whatever order the parts come otherwise. A file that is complete stays
//! although a later one fails; one that breaks off changes nothing.

use std::collections::VecDeque;
use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use multer::Field;

use super::multipart::Parts;
use super::writer::Writer;
use super::{Visitor, failure, multipart, permission};
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::images::body;
use crate::api::json;
use crate::sandbox::files::{FileRequest, Lease, Permission};

/// Descriptions that wait for their files.
const MOST: usize = 1000;

pub async fn upload(visitor: Visitor, headers: HeaderMap, body: Body) -> Result<StatusCode, ApiError> {
    let (pieces, received) = tokio::sync::mpsc::channel(2);
    let taking = async move {
        // Moved in here, so that what is not wanted any more is not waited for.
        let parts = multipart::parts(&headers, received)?;
        take(parts, visitor).await
    };
    // Both at once: a client that is refused is still sending, and mostly reads nothing before it has sent everything.
    let (taken, ()) = tokio::join!(taking, body::feed(body, pieces));
    taken.map(|()| StatusCode::OK)
}

/// What a description asks for.
#[derive(Debug)]
struct Description {
    path: String,
    permission: Permission,
    /// Ours: a symbolic link to there, and no content.
    target: Option<String>,
}

async fn take(mut parts: Parts, visitor: Visitor) -> Result<(), ApiError> {
    let mut lease = visitor.lease().await?;
    let mut waiting = VecDeque::new();
    let (mut descriptions, mut files) = (0_u64, 0_u64);
    while let Some(part) = parts.next().await.map_err(broken)? {
        match part.name() {
            Some("metadata") => {
                waiting.push_back(describe(part).await?);
                descriptions += 1;
                if waiting.len() > MOST {
                    return Err(mismatch("more descriptions than can wait for their files came first"));
                }
            }
            Some("file") => {
                let what = waiting.pop_front().ok_or_else(|| mismatch("a file came before its metadata"))?;
                save(part, what, &mut lease).await?;
                files += 1;
            }
            _ => {}
        }
    }
    match (descriptions, files) {
        (0, _) => Err(ApiError::refused("INVALID_FILE_METADATA", "There is no part metadata in the body.")),
        (_, 0) => Err(ApiError::refused("INVALID_FILE_CONTENT", "There is no part file in the body.")),
        (descriptions, files) if descriptions != files => {
            Err(mismatch(&format!("{descriptions} parts are metadata and {files} are files")))
        }
        _ => Ok(()),
    }
}

async fn describe(part: Field<'static>) -> Result<Description, ApiError> {
    let wrong = |message: String| ApiError::refused("INVALID_FILE_METADATA", message);
    let bytes = part.bytes().await.map_err(|error| match error {
        multer::Error::FieldSizeExceeded { limit, .. } => {
            wrong(format!("A part metadata is longer than {limit} bytes."))
        }
        other => broken(other),
    })?;
    let refuse = |error: ApiError| wrong(error.into_message());
    let body = json::parse(&bytes).map_err(refuse)?;
    let fields = Fields::body(&body).map_err(refuse)?;
    let path = failure::path(fields.required_text("path").map_err(refuse)?).map_err(refuse)?.to_owned();
    let target = fields.text("target").map_err(refuse)?;
    let target = target.map(failure::path).transpose().map_err(refuse)?.map(str::to_owned);
    Ok(Description { path, permission: permission::of(&fields).map_err(refuse)?, target })
}

async fn save(mut part: Field<'static>, what: Description, lease: &mut Lease) -> Result<(), ApiError> {
    let Description { path, permission, target } = what;
    if let Some(target) = target {
        return lease.done(FileRequest::Link { path, target }).await.map_err(ApiError::from);
    }
    let (path, file) = lease.open(FileRequest::Write { path, permission, in_place: true }).await?;
    let unwritable = |error: io::Error| failure::internal(&format!("write {path}: {error}"));
    let mut writer = Writer::new(file);
    while let Some(bytes) = part.chunk().await.map_err(broken)? {
        writer.push(bytes).await.map_err(unwritable)?;
    }
    writer.finish().await.map_err(unwritable)?;
    lease.done(FileRequest::Keep).await.map_err(ApiError::from)
}

fn mismatch(problem: &str) -> ApiError {
    ApiError::refused("INVALID_FILE", format!("Each file needs one part metadata before it: {problem}."))
}

fn broken(error: multer::Error) -> ApiError {
    ApiError::refused("INVALID_FILE", format!("The multipart body is not complete or not valid: {error}."))
}
