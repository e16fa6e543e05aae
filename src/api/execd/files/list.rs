//! `GET /directories/list?path=&depth=`.

use axum::response::Response;

use super::{Visitor, failure, stream};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::sandbox::files::FileRequest;

/// What is below a directory, each directory in the order of its names, what is in it right behind it.
pub async fn list(visitor: Visitor, query: Query) -> Result<Response, ApiError> {
    let path = query.get("path").filter(|path| !path.is_empty()).ok_or_else(|| failure::missing("path"))?;
    let path = failure::path(path)?.to_owned();
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let depth = match query.get("depth") {
        None => 1,
        Some(text) => Some(text)
            .filter(digits)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| failure::invalid("depth must be a whole number from 0 on."))?,
    };
    stream::entries(visitor.lease().await?, FileRequest::List { path, depth }).await
}
