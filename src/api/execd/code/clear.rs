//! `DELETE /code/contexts?language=`.

use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::query::Query;

/// Ends all contexts of a language.
pub async fn clear(entered: Entered, query: Query) -> Result<StatusCode, ApiError> {
    let name = query.get("language").filter(|name| !name.is_empty()).ok_or_else(|| failure::missing("language"))?;
    let contexts = entered.contexts().await?;
    if let Ok(language) = super::filter(Some(name)) {
        for context in contexts.list(language) {
            contexts.delete(context.id());
        }
    }
    Ok(StatusCode::OK)
}
