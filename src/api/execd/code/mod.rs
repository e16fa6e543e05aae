//! `/code`: code that goes on where the last run of its context ended.

mod clear;
mod create;
mod get;
mod interrupt;
mod list;
mod remove;
mod result;
mod run;
mod stream;
mod text;

use serde_json::{Value, json};

use super::failure;
use crate::api::error::ApiError;
use crate::api::fields::shown;
use crate::sandbox::code::{CodeContext, CodeError, Language};

pub use clear::clear;
pub use create::create;
pub use get::get;
pub use interrupt::interrupt;
pub use list::list;
pub use remove::remove;
pub use run::run;

fn body(context: &CodeContext) -> Value {
    let mut body = json!({ "id": context.id(), "language": context.language().name() });
    if let (Some(cwd), Some(fields)) = (context.cwd(), body.as_object_mut()) {
        fields.insert("cwd".to_owned(), json!(cwd));
    }
    body
}

fn refused(error: CodeError) -> ApiError {
    match error {
        CodeError::Exec(error) => failure::of(error),
        other => failure::internal(&other.to_string()),
    }
}

/// A language that code can be run in.
fn language(name: &str) -> Result<Language, ApiError> {
    Language::named(name).ok_or_else(|| {
        let all: Vec<&str> = Language::ALL.into_iter().map(Language::name).collect();
        let all = all.join(", ");
        failure::invalid(format!("The language {} is not supported; contexts run one of {all}.", shown(name)))
    })
}

/// What a list is asked for: `None` means all of them, and `Err` a language in which there are no contexts.
fn filter(name: Option<&str>) -> Result<Option<Language>, Box<str>> {
    let name = name.unwrap_or_default();
    if name.is_empty() { Ok(None) } else { Language::named(name).map(Some).ok_or_else(|| name.into()) }
}

fn unknown(id: &str) -> ApiError {
    failure::not_found("CONTEXT_NOT_FOUND", "context", id)
}
