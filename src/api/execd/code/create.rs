//! `POST /code/context`.

use axum::Json;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::execd::{Entered, failure};
use crate::api::fields::Fields;
use crate::api::json::JsonBody;
use crate::sandbox::code::{CWD_BYTES, NewContext};

/// Makes a context; with `cwd` it begins in that directory.
pub async fn create(entered: Entered, JsonBody(body): JsonBody) -> Result<Json<Value>, ApiError> {
    let fields = Fields::body(&body)?;
    let language = super::language(fields.required_text("language")?)?;
    let cwd = fields.text("cwd")?.filter(|cwd| !cwd.is_empty()).map(str::to_owned);
    if cwd.as_ref().is_some_and(|cwd| cwd.len() > CWD_BYTES || cwd.contains('\0')) {
        return Err(failure::invalid(format!("cwd is longer than {CWD_BYTES} bytes, or has a NUL byte in it.")));
    }
    let (contexts, defaults) = (entered.contexts().await?, entered.program().await?);
    let context = contexts.create(NewContext { language, cwd }, defaults).await.map_err(super::refused)?;
    Ok(Json(super::body(&context)))
}
