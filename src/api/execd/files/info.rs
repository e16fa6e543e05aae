//! `GET /files/info?path=`.

use std::collections::BTreeMap;

use axum::Json;

use super::content::FileInfo;
use super::{Visitor, failure};
use crate::api::error::ApiError;
use crate::api::query::Query;

/// Every path that is asked for, or none: one that is missing fails all.
pub async fn info(visitor: Visitor, query: Query) -> Result<Json<BTreeMap<String, FileInfo>>, ApiError> {
    let mut found = BTreeMap::new();
    let mut lease = visitor.lease().await?;
    for path in query.all("path") {
        let entry = lease.look(failure::path(path)?).await?;
        found.insert(path.to_owned(), entry.into());
    }
    Ok(Json(found))
}
