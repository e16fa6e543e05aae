//! `bivouac image prune`: removes images that nobody has used for a while.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde::Deserialize;

use crate::console::client::Call;
use crate::console::{Client, Failure, duration, screen};

#[derive(Debug, Args)]
pub struct Prune {
    /// How long nobody must have used them: 90s, 30m, 24h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "24h")]
    pub unused_for: Duration,
}

#[derive(Deserialize)]
struct Pruned {
    removed: Vec<String>,
}

/// Prints the names of what is gone.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn prune(client: &Client, args: &Prune) -> Result<(), Failure> {
    let path = format!("/v1/images/prune?unusedForSeconds={}", args.unused_for.as_secs());
    let pruned: Pruned = client.json(Call::new(Method::POST, path, "remove unused images")).await?;
    pruned.removed.iter().try_for_each(|name| screen::line(name))
}
