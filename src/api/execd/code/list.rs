//! `GET /code/contexts?language=`.

use axum::Json;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::query::Query;

/// The contexts of one language; without one, all. Plain commands have none.
pub async fn list(entered: Entered, query: Query) -> Result<Json<Vec<Value>>, ApiError> {
    let language = match super::filter(query.get("language")) {
        Ok(language) => language,
        Err(name) if matches!(&*name, "command" | "sql") => {
            return Err(failure::internal(&format!("{name} runs without contexts")));
        }
        Err(_) => return Ok(Json(Vec::new())),
    };
    let contexts = entered.contexts().await?.list(language);
    Ok(Json(contexts.iter().map(|context| super::body(context)).collect()))
}
