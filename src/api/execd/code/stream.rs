//! A run as server-sent events.

use std::io;
use std::time::Instant;

use axum::body::Bytes;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::result;
use super::text::Text;
use crate::api::execd::sse::{self, event};
use crate::sandbox::code::{CodeEnd, CodeEvent, CodeRun};
use crate::sandbox::commands::Stream;

/// The stream of one run, from its `init`, which names the context, to its last event.
pub fn stream(context: String, run: CodeRun) -> Response {
    let (sender, response) = sse::open();
    tokio::spawn(async move {
        // A client that goes away ends its stream and nothing else.
        tell(run, &context, sender).await.unwrap_or(());
    });
    response
}

async fn tell(run: CodeRun, context: &str, to: mpsc::Sender<io::Result<Bytes>>) -> Result<(), ()> {
    let CodeRun { mut events, note } = run;
    let begun = Instant::now();
    let (mut stdout, mut stderr) = (Text::default(), Text::default());
    // Told with the first result, or else before the end.
    let mut count = None;
    let send = async |text: String| to.send(Ok(Bytes::from(text))).await.map_err(drop);
    send(event("init", json!({ "text": context }))).await?;
    send(note.map_or_else(String::new, |note| output(Stream::Stderr, format!("{note}\n")))).await?;
    loop {
        let next = tokio::select! {
            next = events.recv() => next,
            () = tokio::time::sleep(sse::PING) => {
                send(event("ping", json!({ "text": "pong" }))).await?;
                continue;
            }
            () = to.closed() => return Err(()),
        };
        let text = match next {
            Some(CodeEvent::Output(stream, bytes)) => {
                let text = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
                output(stream, text.push(&bytes))
            }
            Some(CodeEvent::Count(number)) => {
                count = Some(number);
                continue;
            }
            Some(CodeEvent::Result(rich)) => {
                for piece in result::event(counted(count.take()), rich) {
                    to.send(Ok(piece)).await.map_err(drop)?;
                }
                continue;
            }
            last => {
                let end = match last {
                    Some(CodeEvent::Ended(end)) => end,
                    _ => CodeEnd::Died("the process of this context ended just now; run the code again".to_owned()),
                };
                let rest = output(Stream::Stdout, stdout.finish()) + &output(Stream::Stderr, stderr.finish());
                let ending = match failure(end) {
                    None => sse::complete(begun.elapsed()),
                    Some(error) => {
                        event("status", json!({ "text": "error" })) + &event("error", json!({ "error": error }))
                    }
                };
                return send(rest + &counted(count.take()) + &ending).await;
            }
        };
        if !text.is_empty() {
            send(text).await?;
        }
    }
}

fn counted(count: Option<u64>) -> String {
    count.map_or_else(String::new, |count| event("execution_count", json!({ "execution_count": count })))
}

fn output(stream: Stream, text: String) -> String {
    let kind = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    if text.is_empty() { text } else { event(kind, json!({ "text": text })) }
}

/// What the error event says; `None` for a success.
fn failure(end: CodeEnd) -> Option<Value> {
    let error = |name: &str, value: &str, traceback: &[String]| {
        Some(json!({ "ename": name, "evalue": value, "traceback": traceback }))
    };
    match end {
        CodeEnd::Complete => None,
        CodeEnd::Failed { ename, evalue, traceback } => error(&ename, &evalue, &traceback),
        CodeEnd::Status(code) => error("CommandExecError", &code.to_string(), &[format!("exit status {code}")]),
        CodeEnd::Died(how) => error("ContextDied", &how, &[]),
        CodeEnd::Deleted => error("ContextDeleted", "the context was deleted while this ran", &[]),
        CodeEnd::SandboxLeft(phase) => {
            error("SandboxEnded", &format!("the sandbox is {phase}; the run ended with it"), &[])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_success_is_none() {
        assert_eq!(failure(CodeEnd::Complete), None);
        let status = failure(CodeEnd::Status(7)).expect("a failure");
        assert_eq!((&status["ename"], &status["evalue"]), (&json!("CommandExecError"), &json!("7")));
        for end in
            [CodeEnd::Deleted, CodeEnd::Died("x".to_owned()), CodeEnd::SandboxLeft(crate::model::Phase::Stopping)]
        {
            assert!(failure(end).is_some_and(|error| error["evalue"].as_str().is_some_and(|text| !text.is_empty())));
        }
    }
}
