//! `bivouac image import`: an image from disk or standard input, streamed to the daemon.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hyper::Method;

use super::archive::{self, Source};
use super::progress::Progress;
use super::{Image, list};
use crate::console::client::{Call, encoded};
use crate::console::{Client, Failure, screen};

#[derive(Debug, Args)]
pub struct Import {
    /// OCI layout directory, OCI archive, docker-save archive or plain root tar (also .gz, .zst); - is standard input
    pub path: PathBuf,

    /// Name for the image; needed where the archive has none, as a plain root tar
    #[arg(long, value_name = "REF")]
    pub name: Option<String>,
}

/// Sends the image and prints the name under which it can be used.
///
/// # Errors
/// When the file cannot be read, or the daemon refuses what is in it.
pub async fn import(client: &Client, args: &Import) -> Result<(), Failure> {
    let source = Source::open(&args.path)?;
    let shown = args.path.display().to_string();
    let progress = Arc::new(Progress::start(&shown, source.size()));
    let query = args.name.as_deref().map(|name| format!("?name={}", encoded(name))).unwrap_or_default();
    let call = Call::new(Method::POST, format!("/v1/images/import{query}"), format!("import {shown}"));
    let image: Result<Image, Failure> = client.upload(call, archive::body(source, Arc::clone(&progress))).await;
    progress.finish();
    let image = image?;
    screen::note(&format!("imported {} ({}, {})", image.name, list::short(&image.digest), screen::bytes(image.size)));
    screen::line(&image.name)
}
