//! A command's output and end as server-sent events.

mod lines;

use std::io;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::stream::ChannelBody;
use crate::model::Exit;
use crate::sandbox::ExecError;
use crate::sandbox::commands::{Event, Outcome, Running, Stream};
use lines::Lines;

/// Batches of events that wait for a slow client; then its command waits.
const WAITING: usize = 4;

/// Proxies on the way cut connections that say nothing for long.
pub const PING: Duration = Duration::from_secs(10);

/// What a shell answers for a program that is not there, and for one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Every event has its type and the time in milliseconds.
pub fn event(kind: &str, mut fields: Value) -> String {
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("type".to_owned(), json!(kind));
        fields.insert("timestamp".to_owned(), json!(chrono::Utc::now().timestamp_millis()));
    }
    format!("data: {fields}\n\n")
}

/// A response of these events, and nothing more.
pub fn whole(events: &[String]) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")], events.concat())
        .into_response()
}

/// The response whose body the sender fills.
pub fn open() -> (mpsc::Sender<io::Result<Bytes>>, Response) {
    let (sender, frames) = mpsc::channel(WAITING);
    let body = Body::new(ChannelBody::new(frames, |bytes| bytes));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (sender, (headers, body).into_response())
}

/// The stream of one command, from its `init` to its last event.
pub fn stream(running: Running) -> Response {
    let (sender, response) = open();
    tokio::spawn(async move {
        let id = running.command.id().to_string();
        // A client that goes away ends its stream and nothing else.
        tell(running, &id, sender).await.unwrap_or(());
    });
    response
}

/// The whole stream of a command that could not be executed; `Err` for what is no answer to the user.
pub fn not_started(id: &str, error: ExecError) -> Result<Response, ExecError> {
    let (code, message) = match error {
        ExecError::NotFound(message) => (NOT_FOUND, message),
        ExecError::NotExecutable(message) => (NOT_EXECUTABLE, message),
        other => return Err(other),
    };
    Ok(whole(&[event("init", json!({ "text": id })), failed(code, &message)]))
}

async fn tell(running: Running, id: &str, to: mpsc::Sender<io::Result<Bytes>>) -> Result<(), ()> {
    let Running { command: _, mut events } = running;
    let begun = Instant::now();
    let (mut stdout, mut stderr) = (Lines::default(), Lines::default());
    let send = async |text: String| to.send(Ok(Bytes::from(text))).await.map_err(drop);
    send(event("init", json!({ "text": id }))).await?;
    loop {
        let next = tokio::select! {
            next = events.recv() => next,
            () = tokio::time::sleep(PING) => {
                send(event("ping", json!({ "text": "pong" }))).await?;
                continue;
            }
            () = to.closed() => return Err(()),
        };
        match next {
            Some(Event::Output(stream, bytes)) => {
                let lines = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
                let text = output(stream, lines.push(&bytes));
                if !text.is_empty() {
                    send(text).await?;
                }
            }
            Some(Event::Ended(outcome)) => {
                let rest = output(Stream::Stdout, stdout.finish()) + &output(Stream::Stderr, stderr.finish());
                return send(rest + &ending(outcome, begun.elapsed())).await;
            }
            None => return Err(()),
        }
    }
}

fn output(stream: Stream, lines: Vec<String>) -> String {
    let kind = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    lines.into_iter().map(|line| event(kind, json!({ "text": line }))).collect()
}

/// The last event: success and failure exclude each other.
fn ending(outcome: Outcome, took: Duration) -> String {
    match outcome {
        Outcome::Ended(ended) => match (ended.exit, ended.problem()) {
            (Exit::Code(code), Some(problem)) => failed(code, &problem),
            (_, Some(problem)) => failed(-1, &problem),
            (_, None) => complete(took),
        },
        Outcome::TimedOut(after) => failed(-1, &format!("timed out after {} ms and was killed", after.as_millis())),
        Outcome::SandboxLeft(phase) => failed(-1, &format!("the sandbox is {phase}; the command ended with it")),
    }
}

/// Success. Clients take a missing time for zero, so it is never that.
pub fn complete(took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    event("execution_complete", json!({ "execution_time": millis }))
}

fn failed(code: i32, message: &str) -> String {
    let error = json!({ "ename": "CommandExecError", "evalue": code.to_string(), "traceback": [message] });
    event("error", json!({ "error": error }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Ended;

    #[test]
    fn success_and_failure_exclude_each_other() {
        let ended = |exit| ending(Outcome::Ended(Ended::new(exit, 0)), Duration::ZERO);
        let success = ended(Exit::Code(0));
        assert!(success.contains(r#""type":"execution_complete""#) && success.contains(r#""execution_time":1"#));
        for (exit, evalue) in [(Exit::Code(7), "7"), (Exit::Signal(9), "-1"), (Exit::Unknown, "-1")] {
            let failure = ended(exit);
            assert!(failure.contains(&format!(r#""evalue":"{evalue}""#)), "{failure}");
            assert!(!failure.contains("execution_complete") && failure.ends_with("\n\n"));
        }
    }
}
