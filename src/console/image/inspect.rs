//! `bivouac image inspect`: everything about one image, as JSON.

use clap::Args;
use serde_json::Value;

use super::lookup;
use crate::console::{Client, Failure, screen};

#[derive(Debug, Args)]
pub struct Inspect {
    /// Name of the image
    #[arg(value_name = "REF")]
    pub name: String,

    /// JSON is what is printed anyway; taken so that every listing knows it
    #[arg(long, hide = true)]
    pub json: bool,
}

/// Prints the image as the API gives it.
///
/// # Errors
/// When there is no such image, or the daemon cannot be asked.
pub async fn inspect(client: &Client, args: &Inspect) -> Result<(), Failure> {
    screen::json(&client.json::<Value>(lookup(&args.name)).await?)
}
