//! `DELETE /files?path=` and `DELETE /directories?path=`.

use axum::http::StatusCode;

use super::{Visitor, failure};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::sandbox::files::{FileError, FileFailureKind, FileRequest};

/// Files and links; what is missing is as good as removed.
pub async fn files(visitor: Visitor, query: Query) -> Result<StatusCode, ApiError> {
    let mut lease = visitor.lease().await?;
    for path in query.all("path") {
        let path = failure::path(path)?.to_owned();
        lease.done(FileRequest::Remove { path }).await.map_err(|error| match error {
            FileError::Refused(refusal) if refusal.kind == FileFailureKind::Directory => {
                failure::internal(&format!("{}; DELETE /directories removes those", refusal.message))
            }
            other => other.into(),
        })?;
    }
    Ok(StatusCode::OK)
}

/// With all that is in them.
pub async fn directories(visitor: Visitor, query: Query) -> Result<StatusCode, ApiError> {
    let mut lease = visitor.lease().await?;
    for path in query.all("path") {
        let path = failure::path(path)?.to_owned();
        lease.done(FileRequest::RemoveTree { path }).await?;
    }
    Ok(StatusCode::OK)
}
