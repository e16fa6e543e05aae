//! `POST /files/mv`.

use axum::http::StatusCode;
use serde_json::Value;

use super::{Visitor, failure};
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::json::JsonBody;
use crate::sandbox::files::FileRequest;

/// Moves one after the other, to where nothing is.
pub async fn rename(visitor: Visitor, JsonBody(body): JsonBody) -> Result<StatusCode, ApiError> {
    let items = body.as_array().ok_or_else(|| failure::invalid("The request body must be an array of {src, dest}."))?;
    let moves = items.iter().enumerate().map(|(at, item)| parse(at, item)).collect::<Result<Vec<_>, _>>()?;
    let mut lease = visitor.lease().await?;
    for (from, to) in moves {
        lease.done(FileRequest::Move { from, to }).await?;
    }
    Ok(StatusCode::OK)
}

fn parse(at: usize, item: &Value) -> Result<(String, String), ApiError> {
    let wrong = |error: ApiError| failure::invalid(error.into_message());
    let fields = Fields::at(format!("[{at}]"), item).map_err(wrong)?;
    let path = |name| failure::path(fields.required_text(name).map_err(wrong)?).map(str::to_owned);
    Ok((path("src")?, path("dest")?))
}
