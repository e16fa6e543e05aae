//! `GET /files/download?path=`, by bytes (`Range`) or by lines (`offset`, `limit`).

use std::fs::File;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;

use super::lines::Lines;
use super::range::{self, Wanted};
use super::{Visitor, disposition, failure, stream};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::api::stream::ChannelBody;
use crate::sandbox::files::FileRequest;

pub async fn download(visitor: Visitor, query: Query, headers: HeaderMap) -> Result<Response, ApiError> {
    let path = query.get("path").filter(|path| !path.is_empty()).ok_or_else(|| failure::missing("path"))?;
    let path = failure::path(path)?.to_owned();
    let (first, count) = (line_number(&query, "offset")?, line_number(&query, "limit")?);
    let range = headers.get(header::RANGE);
    let by_lines = first.is_some() || count.is_some();
    if by_lines && range.is_some() {
        return Err(failure::invalid("Give either a Range header or offset and limit, not both."));
    }
    let (path, file) = visitor.lease().await?.open(FileRequest::Read { path }).await?;
    if by_lines {
        return Ok(lines(file, Lines::new(first.unwrap_or(1), count.unwrap_or(u64::MAX))));
    }
    let size = file.metadata().map_err(|error| failure::internal(&format!("look at {path}: {error}")))?.len();
    // What is no text is no range.
    let wanted = range.map_or(Wanted::Whole, |range| range::parse(range.to_str().unwrap_or("bytes="), size));
    let name = [
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, disposition::attachment(&path)),
        (header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes")),
    ];
    Ok(match wanted {
        Wanted::Whole => {
            (name, [(header::CONTENT_LENGTH, size.to_string())], stream::part(file, 0, size)).into_response()
        }
        Wanted::Part(from, length) => {
            let place = format!("bytes {from}-{}/{size}", from + (length - 1));
            let place = [(header::CONTENT_LENGTH, length.to_string()), (header::CONTENT_RANGE, place)];
            (StatusCode::PARTIAL_CONTENT, name, place, stream::part(file, from, length)).into_response()
        }
        Wanted::Unsatisfiable => {
            let message = format!("The file has {size} bytes, and none of the ranges that were asked for.");
            let refusal = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "UNKNOWN", message);
            ([(header::CONTENT_RANGE, format!("bytes */{size}"))], refusal).into_response()
        }
    })
}

fn line_number(query: &Query, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|number| plain && *number > 0);
    number.map(Some).ok_or_else(|| failure::invalid(format!("{name} must be a whole number from 1 on.")))
}

fn lines(file: File, mut wanted: Lines) -> Response {
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let (file, mut at) = (Arc::new(file), 0);
        while !wanted.is_done() {
            let source = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || stream::read(&source, at, stream::PIECE)).await;
            let piece = match read.unwrap_or_else(|lost| Err(io::Error::other(lost))) {
                Ok(piece) if piece.is_empty() => return,
                Ok(piece) => {
                    at += piece.len() as u64;
                    Ok(wanted.push(&piece))
                }
                Err(error) => Err(error),
            };
            let broken = piece.is_err();
            let nothing = piece.as_ref().is_ok_and(Vec::is_empty);
            // What is passed over is not sent, and nobody may be there for whom it is.
            if sender.is_closed() || (!nothing && sender.send(piece).await.is_err()) || broken {
                return;
            }
        }
    });
    let body = Body::new(ChannelBody::new(pieces, axum::body::Bytes::from));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}
