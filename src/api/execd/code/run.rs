//! `POST /code`.

use axum::response::Response;

use super::stream;
use crate::api::error::ApiError;
use crate::api::execd::{Entered, command, failure};
use crate::api::fields::Fields;
use crate::api::json::JsonBody;
use crate::model::ExecId;
use crate::sandbox::commands::Request;

/// Runs code in a context: the one that is named, or else the default one of the language. Without any language it is a
/// line for the shell. The answer tells of the run until its end.
pub async fn run(entered: Entered, JsonBody(body): JsonBody) -> Result<Response, ApiError> {
    let fields = Fields::body(&body)?;
    let code = fields.required_text("code")?;
    if code.trim().is_empty() || code.contains('\0') {
        return Err(failure::invalid("The code is empty, or has a NUL byte in it."));
    }
    let context = fields.object("context")?;
    let part = |name: &str| context.as_ref().map_or(Ok(None), |context| context.text(name));
    let (id, language) = (part("id")?.filter(|id| !id.is_empty()), part("language")?.unwrap_or_default());
    let defaults = entered.program().await?;
    let context = match id {
        Some(id) => {
            let context = entered.contexts().await?.get(id).ok_or_else(|| super::unknown(id))?;
            let own = context.language().name();
            if !language.is_empty() && !language.eq_ignore_ascii_case(own) {
                return Err(failure::invalid(format!("The language of context {id} is {own}, not the one given.")));
            }
            context
        }
        None if matches!(language, "" | "command") => {
            let (argv, otherwise) = command::shell(code);
            let mut program = defaults;
            program.process.argv = argv;
            program.otherwise = Some(otherwise);
            let request = Request { content: code.to_owned(), program, timeout: None };
            let started = entered.shelf().await?.run(request).await.map(crate::api::execd::sse::stream);
            let id = ExecId::random();
            return started
                .or_else(|error| crate::api::execd::sse::not_started(id.as_str(), error))
                .map_err(failure::of);
        }
        None => {
            let language = super::language(language)?;
            let made = entered.contexts().await?.default_of(language, defaults.clone()).await;
            made.map_err(super::refused)?
        }
    };
    let run = context.run(code, defaults).await.map_err(super::refused)?;
    Ok(stream::stream(context.id().to_owned(), run))
}
