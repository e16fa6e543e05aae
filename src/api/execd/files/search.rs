//! `GET /files/search?path=&pattern=`.

use axum::response::Response;

use super::{Visitor, failure, stream};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::sandbox::files::FileRequest;

/// Everything but directories, at any depth, whose name fits the pattern.
pub async fn search(visitor: Visitor, query: Query) -> Result<Response, ApiError> {
    let path = query.get("path").filter(|path| !path.is_empty()).ok_or_else(|| failure::missing("path"))?;
    let path = failure::path(path)?.to_owned();
    let pattern = query.get("pattern").filter(|pattern| !pattern.is_empty()).unwrap_or("**").to_owned();
    if pattern.len() > 1024 {
        return Err(failure::invalid("The pattern is longer than 1024 bytes."));
    }
    stream::entries(visitor.lease().await?, FileRequest::Search { path, pattern }).await
}
