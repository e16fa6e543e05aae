//! `GET /sandboxes/{id}/logs`, a route of our own: the entrypoint's output, as it was or as it comes.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::Utc;

use crate::api::error::ApiError;
use crate::api::extract::Id;
use crate::api::fields::shown;
use crate::api::query::Query;
use crate::api::state::ApiState;
use crate::api::stream::ChannelBody;
use crate::api::time;
use crate::sandbox::logs::{Frame, Options};

const MOST_LINES: u32 = 100_000;
const FRAMES: &str = "application/vnd.docker.multiplexed-stream";
const TEXT: &str = "text/plain; charset=utf-8";

/// Both streams as text, or with `frames=true` as frames that tell them apart.
pub async fn logs(State(state): State<ApiState>, Id(id): Id, query: Query) -> Result<Response, ApiError> {
    let framed = query.flag("frames")?;
    let options = Options {
        follow: query.flag("follow")?,
        tail: query.number("tail", 0..=MOST_LINES)?.map(|lines| lines as usize),
        since: since(&query)?,
    };
    if state.sandboxes.get(&id).is_none() {
        return Err(ApiError::no_sandbox(id.as_str()));
    }
    let (sandboxes, waited) = (state.sandboxes.clone(), id.clone());
    let ended = async move { drop(sandboxes.wait(&waited).await) };
    let batches = state.logs.stream(&id, options, ended).await.map_err(|error| unreadable(&error))?;
    let encode = if framed { frames } else { text };
    let body = Body::new(ChannelBody::new(batches, encode));
    // What a sandbox prints must never be taken for a page.
    let headers =
        [(header::CONTENT_TYPE, if framed { FRAMES } else { TEXT }), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, body).into_response())
}

pub fn unreadable(error: &std::io::Error) -> ApiError {
    ApiError::internal("SANDBOX::INTERNAL_ERROR", format!("The log cannot be read: {error}."))
}

fn text(batch: Vec<Frame>) -> Bytes {
    batch.into_iter().flat_map(|frame| frame.payload).collect()
}

/// The form that Docker's clients read: the stream (1 stdout, 2 stderr), three zero bytes, the length (u32, big-endian), the
/// payload.
fn frames(batch: Vec<Frame>) -> Bytes {
    let mut bytes = Vec::new();
    for frame in batch {
        // The reader refuses payloads above 1 MiB.
        let length = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&[frame.stream.number(), 0, 0, 0]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&frame.payload);
    }
    bytes.into()
}

/// A time by RFC 3339, or how long ago: `90s`, `10m`, `1h`.
pub fn since(query: &Query) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.get("since") else { return Ok(None) };
    let nanos = ago(text).or_else(|| time::read(text)?.timestamp_nanos_opt());
    let nanos = nanos.ok_or_else(|| {
        let shown = shown(text);
        ApiError::invalid(format!("since must be a time by RFC 3339 or an age such as 90s, 10m or 1h, not {shown}."))
    })?;
    Ok(Some(u64::try_from(nanos).unwrap_or(0)))
}

fn ago(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = number.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(1_000_000_000)?;
    Some(Utc::now().timestamp_nanos_opt()?.saturating_sub(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::logs::Stream;

    #[test]
    fn frames_are_those_of_docker() {
        let frame = |stream, payload: &str| Frame { stream, unix_nanos: 1, payload: payload.into() };
        let batch = || vec![frame(Stream::Stdout, "ab"), frame(Stream::Stderr, "c")];
        assert_eq!(frames(batch())[..], *b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01c");
        assert_eq!(text(batch())[..], *b"abc");
    }

    #[test]
    fn ages_and_times() {
        let since = |text: &str| since(&Query::of(&format!("/?since={text}").parse().expect("a URI")).expect("valid"));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Some(1_000_000_000)));
        assert!(since("10m").is_ok_and(|nanos| nanos > Some(1 << 60)));
        for bad in ["", "m", "10", "-5m", "10w", "x%C3%A9", "99999999999999999h"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
