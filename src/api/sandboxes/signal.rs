//! `POST /sandboxes/{id}/signal`, a route of our own: what a terminal or supervisor in front of the client sends.

use axum::extract::State;
use axum::http::StatusCode;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::fields::{Fields, shown};
use crate::api::json::JsonBody;
use crate::sandbox::Sandboxes;

/// The last real-time signal of Linux (signal(7)).
const LAST: i64 = 64;

/// 204 once the entrypoint has been sent the signal.
pub async fn signal(
    State(sandboxes): State<Sandboxes>,
    Id(id): Id,
    JsonBody(body): JsonBody,
) -> Result<StatusCode, ApiError> {
    let sent = sandboxes.signal(&id, read(&body)?).await;
    sent.map_err(|denial| ApiError::denied(denial, "SANDBOX::INTERNAL_ERROR"))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `"SIGTERM"`, `"TERM"` or 15.
fn read(body: &Value) -> Result<i32, ApiError> {
    let body = Fields::body(body)?;
    let number = match body.get("signal") {
        None => return Err(body.missing("signal")),
        Some(Value::String(name)) => by_name(name),
        Some(number) => {
            number.as_i64().filter(|number| (1..=LAST).contains(number)).and_then(|n| i32::try_from(n).ok())
        }
    };
    number.ok_or_else(|| {
        let given = body.get("signal").map(Value::to_string).unwrap_or_default();
        ApiError::invalid(format!(
            "signal must be a name such as SIGTERM or a number from 1 to 64, not {}.",
            shown(&given)
        ))
    })
}

fn by_name(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_numbers() {
        for (given, number) in
            [(json!("SIGTERM"), 15), (json!("int"), 2), (json!("KILL"), 9), (json!(1), 1), (json!(64), 64)]
        {
            assert_eq!(read(&json!({ "signal": given })), Ok(number), "{given}");
        }
        for bad in [json!("SIGNOT"), json!(""), json!(0), json!(65), json!(-9), json!(1.5), json!(null), json!([15])] {
            assert!(read(&json!({ "signal": bad })).is_err(), "{bad}");
        }
    }
}
