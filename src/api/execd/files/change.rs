//! `POST /files/permissions`.

use axum::http::StatusCode;

use super::{Visitor, failure, permission};
use crate::api::error::ApiError;
use crate::api::json::JsonBody;
use crate::sandbox::files::FileRequest;

/// Owner, group and mode of each path.
pub async fn permissions(visitor: Visitor, JsonBody(body): JsonBody) -> Result<StatusCode, ApiError> {
    let wanted = permission::by_path(&body)?;
    let mut lease = visitor.lease().await?;
    for (path, permission) in wanted {
        let path = failure::path(&path)?.to_owned();
        lease.done(FileRequest::Change { path, permission }).await?;
    }
    Ok(StatusCode::OK)
}
