//! `bivouac image pull`: an image from its registry, fetched by the daemon.

use clap::Args;
use hyper::Method;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::progress::Pulled;
use super::{Image, list};
use crate::console::client::Call;
use crate::console::lines::Lines;
use crate::console::{Client, Failure, screen};

#[derive(Debug, Args)]
pub struct Pull {
    /// Name of the image: python:3.11, ghcr.io/o/i@sha256:..., host:5000/a/b:tag
    #[arg(value_name = "REF")]
    pub name: String,
}

/// How far the daemon says that it is.
#[derive(Debug, Deserialize)]
pub struct Line {
    pub status: String,
    pub message: String,
    #[serde(default)]
    pub bytes: Part,
    #[serde(default)]
    image: Option<Image>,
    #[serde(default)]
    code: String,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub struct Part {
    pub done: u64,
    pub total: u64,
}

/// Shows how far it is, and prints the name under which the image can be used.
///
/// # Errors
/// When the daemon cannot be asked, or fails to pull the image.
pub async fn pull(client: &Client, args: &Pull) -> Result<(), Failure> {
    let image = fetch(client, &args.name).await?;
    screen::note(&format!("pulled {} ({}, {})", image.name, list::short(&image.digest), screen::bytes(image.size)));
    screen::line(&image.name)
}

/// Has the daemon pull the image, and shows how far it is.
pub(super) async fn fetch(client: &Client, name: &str) -> Result<Image, Failure> {
    let action = format!("pull {name}");
    let call = Call::new(Method::POST, "/v1/images/pull", action.clone()).with(json!({"image": {"uri": name}}));
    let progress = Pulled::start(name);
    let answer = client.answer(call).await;
    let pulled = match answer {
        Ok(answer) => follow(answer.into_body(), &progress, &action).await,
        Err(failure) => Err(failure),
    };
    progress.finish();
    pulled
}

/// Reads lines until one says how it ended.
async fn follow(body: Incoming, progress: &Pulled, action: &str) -> Result<Image, Failure> {
    let mut lines = Lines::new(body, action);
    loop {
        let line: Line = lines.next().await?;
        progress.show(&line);
        match (line.status.as_str(), line.image) {
            ("done", Some(image)) => return Ok(image),
            ("failed", _) => {
                let (code, message) = (line.code, line.message);
                return Err(Failure::Refused { action: action.to_owned(), status: 502, code, message });
            }
            _ => {}
        }
    }
}
