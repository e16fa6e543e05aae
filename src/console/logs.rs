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
    show(client, &id, args.follow, args.tail).await
}

/// Prints what the program of the sandbox with this id wrote; with `follow`, until its end.
///
/// # Errors
/// As [`logs`].
pub async fn show(client: &Client, id: &str, follow: bool, tail: Option<u32>) -> Result<(), Failure> {
    let action = format!("read the logs of sandbox {id}");
    let tail = tail.map(|lines| format!("&tail={lines}")).unwrap_or_default();
    let path = format!("/v1/sandboxes/{id}/logs?follow={follow}{tail}");
    let mut body = client.answer(Call::new(Method::GET, path, action.clone())).await?.into_body();
    let mut frames = Frames::default();
    while let Some(piece) = body.frame().await {
        let piece = piece.map_err(|source| Failure::Broken { action: action.clone(), source })?;
        let Ok(bytes) = piece.into_data() else { continue };
        let complete = frames
            .push(&bytes)
            .map_err(|problem| Failure::Unreadable { action: action.clone(), problem: problem.to_owned() })?;
        written(complete).await?;
    }
    Ok(())
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
