//! `POST /directories`.

use axum::http::StatusCode;

use super::{Visitor, failure, permission};
use crate::api::error::ApiError;
use crate::api::json::JsonBody;
use crate::sandbox::files::FileRequest;

/// Makes each directory and those on the way to it; one that is there stays as it is.
pub async fn make(visitor: Visitor, JsonBody(body): JsonBody) -> Result<StatusCode, ApiError> {
    let wanted = permission::by_path(&body)?;
    let mut lease = visitor.lease().await?;
    for (path, permission) in wanted {
        let path = failure::path(&path)?.to_owned();
        lease.done(FileRequest::MakeDirectory { path, permission }).await?;
    }
    Ok(StatusCode::OK)
}
