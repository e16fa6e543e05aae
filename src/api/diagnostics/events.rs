//! `GET /sandboxes/{id}/diagnostics/events`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;

use super::{deprecated, envelope, scope};
use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::query::Query;
use crate::api::time;
use crate::model::{Event, History, SandboxId};
use crate::sandbox::{Sandbox, Sandboxes};

const EVENTS: u32 = 50;
pub const MOST_EVENTS: u32 = 500;

/// What has happened to the sandbox: as JSON with a scope, and as text in the deprecated form without one.
pub async fn events(State(sandboxes): State<Sandboxes>, Id(id): Id, query: Query) -> Result<Response, ApiError> {
    let scope = scope(&query, "events", "runtime")?;
    let most = query.number("limit", 1..=MOST_EVENTS)?.filter(|_| scope.is_none()).unwrap_or(EVENTS);
    let Told { content, truncated } = told(&sandboxes, &id, most).ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    Ok(match scope {
        Some(scope) => Json(envelope(&id, "events", scope, content, truncated)).into_response(),
        None => deprecated(content),
    })
}

/// Events as text, and whether there were more.
pub struct Told {
    pub content: String,
    pub truncated: bool,
}

/// The last `most` events; `None` when there is no such sandbox.
pub fn told(sandboxes: &Sandboxes, id: &SandboxId, most: u32) -> Option<Told> {
    let (sandbox, history) = (sandboxes.get(id)?, sandboxes.history(id)?);
    let lines = lines(&history);
    let skipped = lines.len().saturating_sub(most as usize);
    let mut content = heading(&sandbox);
    content.extend(lines.into_iter().skip(skipped));
    Some(Told { content, truncated: skipped > 0 || history.left_out().is_some() })
}

fn heading(sandbox: &Sandbox) -> String {
    let Sandbox { id, spec, status, expires_at, .. } = sandbox;
    let expires = expires_at.map_or_else(|| "never".to_owned(), time::write);
    format!("Sandbox:    {id}\nImage:      {}\nStatus:     {}\nExpires:    {expires}\n", spec.image, status.phase)
}

fn lines(history: &History) -> Vec<String> {
    let mut lines: Vec<String> = history.events().iter().map(line).collect();
    if let Some((place, count)) = history.left_out() {
        lines.insert(place.min(lines.len()), format!("({count} events are not kept)\n"));
    }
    lines
}

/// A message is one line, whatever a program or an image has put into it.
fn line(event: &Event) -> String {
    let at = DateTime::from_timestamp_micros(event.unix_micros).map(time::write).unwrap_or_default();
    let message = event.message.replace(char::is_control, " ");
    format!("{at} {}: {}: {message}\n", event.phase, event.reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Phase, Reason};

    #[test]
    fn what_is_not_kept_is_counted_where_it_stood() {
        let mut history = History::default();
        for number in 0..60 {
            let message = format!("number\n{number}");
            history.add(Event { unix_micros: number, phase: Phase::Paused, reason: Reason::UserPause, message });
        }
        let lines = lines(&history);
        assert_eq!(lines.len(), 51);
        assert_eq!(lines[3], "1970-01-01T00:00:00.000003Z Paused: user_pause: number 3\n");
        assert_eq!(lines[4], "(10 events are not kept)\n");
    }
}
