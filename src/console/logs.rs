//! `bivouac logs`: what a sandbox's program wrote, byte for byte and each stream to its own.

use std::io::{self, Write};

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;

use super::client::Call;
use super::frames::{Frame, Frames, Stream};
use super::{Client, Failure, find};

#[derive(Debug, Args)]
pub struct Logs {
    /// Id, beginning of an id, or name of the sandbox
    pub id: String,

    /// Go on with what is written from now on, until the sandbox ends
    #[arg(long, short)]
    pub follow: bool,

    /// Only the last N lines of what is there
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
}

/// Prints what the program wrote.
///
/// # Errors
/// When there is no such sandbox, or the connection breaks.
pub async fn logs(client: &Client, args: &Logs) -> Result<(), Failure> {
    let id = find::id(client, &args.id).await?;
    show(client, &id, Part { follow: args.follow, tail: args.tail }, &mut 0).await
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    /// Until the sandbox ends.
    pub follow: bool,
    /// Only the last lines of what is there.
    pub tail: Option<u32>,
}

/// Prints what the program of the sandbox with this id wrote. `shown` counts the bytes; what it counts already is passed
/// over, which is how a reader goes on where its connection broke.
///
/// # Errors
/// As [`logs`].
pub async fn show(client: &Client, id: &str, part: Part, shown: &mut u64) -> Result<(), Failure> {
    let action = format!("read the logs of sandbox {id}");
    let mut body = client.answer(Call::new(Method::GET, path(id, part), action.clone())).await?.into_body();
    let mut frames = Frames::default();
    let mut passed_over = *shown;
    while let Some(piece) = body.frame().await {
        let piece = piece.map_err(|source| Failure::Broken { action: action.clone(), source })?;
        let Ok(bytes) = piece.into_data() else { continue };
        let mut complete = frames
            .push(&bytes)
            .map_err(|problem| Failure::Unreadable { action: action.clone(), problem: problem.to_owned() })?;
        pass_over(&mut complete, &mut passed_over);
        let count: usize = complete.iter().map(|frame| frame.payload.len()).sum();
        written(complete).await?;
        *shown += count as u64;
    }
    Ok(())
}

/// Takes `count` bytes away from the front.
fn pass_over(frames: &mut [Frame], count: &mut u64) {
    for frame in frames {
        let here = frame.payload.len().min(usize::try_from(*count).unwrap_or(usize::MAX));
        frame.payload.drain(..here);
        *count -= here as u64;
    }
}

fn path(id: &str, part: Part) -> String {
    let tail = part.tail.map(|lines| format!("&tail={lines}")).unwrap_or_default();
    format!("/v1/sandboxes/{id}/logs?frames=true&follow={}{tail}", part.follow)
}

/// A reader of our output that is slow must not keep signals from being passed on, so another thread waits for it.
async fn written(frames: Vec<Frame>) -> Result<(), Failure> {
    let write = move || frames.iter().try_for_each(write);
    let done = tokio::task::spawn_blocking(write).await;
    Ok(done.unwrap_or_else(|lost| Err(io::Error::other(lost)))?)
}

fn write(frame: &Frame) -> io::Result<()> {
    match frame.stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(&frame.payload)?;
            out.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(&frame.payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_passed_over_across_frames() {
        let frame = |payload: &str| Frame { stream: Stream::Stdout, payload: payload.into() };
        let mut frames = [frame("abc"), frame("def"), frame("ghi")];
        let mut count = 4;
        pass_over(&mut frames, &mut count);
        assert_eq!((frames.map(|frame| frame.payload), count), ([b"".to_vec(), b"ef".to_vec(), b"ghi".to_vec()], 0));
        let (mut frames, mut count) = ([frame("abc")], 10);
        pass_over(&mut frames, &mut count);
        assert_eq!((frames[0].payload.len(), count), (0, 7));
    }
}
