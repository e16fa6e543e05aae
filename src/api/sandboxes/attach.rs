//! `GET /sandboxes/{id}/attach`, a route of our own: the entrypoint as if it ran right here, over a WebSocket.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, timeout};

use crate::api::error::ApiError;
use crate::api::execd::failure;
use crate::api::execd::pty::{Answers, BUFFER, FAREWELL, LARGEST_MESSAGE, PING, REPLIES, TAKEN_OVER, WINDOW};
use crate::api::execd::pty::{error, listen, tagged, text};
use crate::api::extract::Id;
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::model::{Phase, SandboxId};
use crate::sandbox::Denial;
use crate::sandbox::commands::EntrypointSeat;
use crate::sandbox::logs::Frame;

/// The program waits for us as long as it hears of us, and for half a minute after that.
const RENEWAL: Duration = Duration::from_secs(10);

/// How a client wants to take part.
struct Wishes {
    /// The bytes of output that it has seen.
    since: u64,
    acks: bool,
}

/// Why it is over.
enum End {
    Exited,
    TakenOver,
    Unreadable(std::io::Error),
    ClientGone,
}

/// 101 as soon as the sandbox is not Pending any more. Of one that has ended the output is told, and how it ended.
pub async fn attach(
    State(state): State<ApiState>,
    Id(id): Id,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let wishes = Wishes { since: offset(&query)?, acks: query.flag("acks")? };
    let by_force = query.flag("takeover")?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &state).await;
    let upgrade = upgrade.map_err(|problem| {
        failure::invalid(format!("This path speaks WebSocket (RFC 6455) only: {}.", problem.body_text()))
    })?;
    let sandbox = state.sandboxes.begun(&id).await.ok_or_else(|| ApiError::no_sandbox(id.as_str()))?;
    let seat = match sandbox.status.phase {
        Phase::Terminated | Phase::Failed | Phase::Stopping => None,
        _ => Some(take_seat(&state, &id, by_force).await?),
    };
    let upgrade = upgrade.max_message_size(LARGEST_MESSAGE).max_frame_size(LARGEST_MESSAGE);
    let upgrade = upgrade.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    Ok(upgrade.on_upgrade(move |socket| converse(socket, state, id, seat, wishes)))
}

fn offset(query: &Query) -> Result<u64, ApiError> {
    let since = query.get("since").filter(|text| !text.is_empty()).map_or(Ok(0), str::parse);
    since.map_err(|_| failure::invalid("since must be a whole number from 0 on."))
}

async fn take_seat(state: &ApiState, id: &SandboxId, by_force: bool) -> Result<EntrypointSeat, ApiError> {
    let inside = state.sandboxes.inside(id);
    let inside = inside.map_err(|denial: Denial| ApiError::denied(denial, failure::FAILED))?;
    let shelf = state.commands.of(&inside).await.map_err(failure::of)?;
    let entrypoint = shelf.entrypoint().await.map_err(failure::of)?.ok_or_else(|| {
        let message = "This sandbox was started by an earlier version, which hands nothing of its program out; its logs show \
                       what it writes.";
        ApiError::new(StatusCode::CONFLICT, "SANDBOX::NOT_ATTACHABLE", message)
    })?;
    entrypoint.attach(by_force).map_err(|_| {
        ApiError::new(
            StatusCode::CONFLICT,
            "ALREADY_CONNECTED",
            "Another client is connected; ?takeover=1 sends it away.",
        )
    })
}

async fn converse(socket: WebSocket, state: ApiState, id: SandboxId, seat: Option<EntrypointSeat>, wishes: Wishes) {
    let (mut sink, mut source) = socket.split();
    let (replies, waiting) = mpsc::channel(REPLIES);
    let running = seat.as_ref().map(|seat| seat.entrypoint.running());
    let (taken, told) = watch::channel(running.map_or(0, |running| running.taken()));
    let mode = if running.is_some_and(|running| running.has_terminal()) { "pty" } else { "pipe" };
    let mut connected = json!({ "type": "connected", "session_id": id.as_str(), "mode": mode });
    if let (true, Some(fields)) = (wishes.acks, connected.as_object_mut()) {
        let taken = *told.borrow();
        fields.extend([("stdin_taken".to_owned(), taken.into()), ("stdin_window".to_owned(), WINDOW.into())]);
    }
    let answers = Answers::new(waiting, wishes.acks.then_some(told));
    let heard = async {
        match running {
            Some(running) => listen(&mut source, running, replies, taken).await,
            // There is nobody who could hear it.
            None => std::future::pending().await,
        }
    };
    let lost = async {
        match &seat {
            Some(seat) => seat.lost().await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        end = show(&mut sink, &state, &id, seat.as_ref(), (text(&connected), wishes.since), answers) => end,
        () = heard => End::ClientGone,
        () = lost => End::TakenOver,
    };
    drop(seat);
    let words = last_words(&state, &id, end).await;
    let farewell = async {
        for message in words {
            sink.send(message).await?;
        }
        sink.close().await?;
        while let Some(Ok(_)) = source.next().await {}
        Ok::<_, axum::Error>(())
    };
    // It may be gone.
    drop(timeout(FAREWELL, farewell).await);
}

/// Shows output as it comes into the log, to the end of the sandbox. The program waits for a client that is slower.
async fn show(
    sink: &mut SplitSink<WebSocket, Message>,
    state: &ApiState,
    id: &SandboxId,
    seat: Option<&EntrypointSeat>,
    (first, since): (Message, u64),
    mut answers: Answers,
) -> End {
    let (sandboxes, waited) = (state.sandboxes.clone(), id.clone());
    let log = state.logs.whole(id, async move { drop(sandboxes.wait(&waited).await) }).await;
    let mut batches = match log {
        Ok(batches) => batches,
        Err(problem) => return End::Unreadable(problem),
    };
    let mut place = Place { at: 0, since };
    let tell_seen = |place: &Place| {
        if let Some(seat) = seat {
            seat.entrypoint.inside().seen_output(place.at);
        }
    };
    let mut messages = vec![first, offset_is(since)];
    let mut ping = interval_at(Instant::now() + PING, PING);
    let mut renewal = interval_at(Instant::now(), RENEWAL);
    loop {
        for message in messages.drain(..) {
            if sink.send(message).await.is_err() {
                return End::ClientGone;
            }
        }
        tokio::select! {
            biased;
            reply = answers.next() => messages.push(reply),
            _ = ping.tick() => messages.push(Message::Ping(Vec::new().into())),
            _ = renewal.tick() => tell_seen(&place),
            batch = batches.recv() => match batch {
                Some(Ok((from, frames))) => {
                    // What was sent before this was taken.
                    tell_seen(&place);
                    messages = place.tell(from, frames);
                }
                Some(Err(problem)) => return End::Unreadable(problem),
                None => return End::Exited,
            },
        }
    }
}

/// Where the client is in the output.
struct Place {
    /// The offset of the next byte of the log.
    at: u64,
    /// The client has seen what is before this.
    since: u64,
}

impl Place {
    fn tell(&mut self, from: u64, frames: Vec<Frame>) -> Vec<Message> {
        let mut messages = Vec::new();
        if from > self.at.max(self.since) {
            messages.push(offset_is(from));
        }
        self.at = from;
        for frame in frames {
            let seen = usize::try_from(self.since.saturating_sub(self.at)).unwrap_or(usize::MAX);
            self.at += frame.payload.len() as u64;
            if let Some(rest) = frame.payload.get(seen..).filter(|rest| !rest.is_empty()) {
                messages.push(tagged(frame.stream.number(), rest));
            }
        }
        messages
    }
}

fn offset_is(offset: u64) -> Message {
    tagged(3, &offset.to_be_bytes())
}

async fn last_words(state: &ApiState, id: &SandboxId, end: End) -> Vec<Message> {
    let close = |code, reason: &str| Message::Close(Some(CloseFrame { code, reason: reason.to_owned().into() }));
    let gone = |problem: &str| vec![error("SESSION_GONE", problem), close(close_code::AWAY, "session gone")];
    match end {
        End::Exited => match state.sandboxes.get(id) {
            Some(sandbox) => match (sandbox.status.phase, sandbox.status.exit.and_then(crate::model::Exit::shell_code))
            {
                (Phase::Terminated | Phase::Failed, Some(code)) => {
                    let exit = json!({ "type": "exit", "exit_code": code });
                    vec![text(&exit), close(close_code::NORMAL, "process exited")]
                }
                (Phase::Terminated | Phase::Failed, None) => {
                    let message = &sandbox.status.message;
                    vec![error("SANDBOX_ENDED", message), close(close_code::AWAY, "sandbox ended")]
                }
                // The daemon is about to stop.
                _ => vec![close(close_code::RESTART, "come again")],
            },
            None => gone("the sandbox was removed"),
        },
        End::TakenOver => {
            vec![error("TAKEN_OVER", "another client has taken over"), close(TAKEN_OVER, "TAKEN_OVER")]
        }
        End::Unreadable(problem) => {
            vec![error("RUNTIME_ERROR", &problem.to_string()), close(close_code::ERROR, "output lost")]
        }
        End::ClientGone => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::logs::Stream;

    fn told(place: &mut Place, from: u64, payloads: &[(Stream, &str)]) -> Vec<Vec<u8>> {
        let frame = |(stream, text): &(Stream, &str)| Frame { stream: *stream, unix_nanos: 0, payload: (*text).into() };
        let messages = place.tell(from, payloads.iter().map(frame).collect());
        messages.into_iter().map(|message| message.into_data().to_vec()).collect()
    }

    #[test]
    fn what_was_seen_is_passed_over_and_what_is_missing_is_told() {
        let mut place = Place { at: 0, since: 4 };
        assert_eq!(told(&mut place, 0, &[(Stream::Stdout, "abc"), (Stream::Stderr, "def")]), [b"\x02ef".to_vec()]);
        assert_eq!(told(&mut place, 6, &[(Stream::Stdout, "g")]), [b"\x01g".to_vec()]);
        let missed = told(&mut place, 256, &[(Stream::Stdout, "h")]);
        assert_eq!(missed, [b"\x03\0\0\0\0\0\0\x01\0".to_vec(), b"\x01h".to_vec()]);
        let mut place = Place { at: 0, since: 9 };
        assert_eq!(told(&mut place, 5, &[(Stream::Stdout, "56789a")]), [b"\x019a".to_vec()]);
    }
}
