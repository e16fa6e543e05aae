//! `bivouac image rm`.

use clap::Args;
use hyper::Method;

use super::path;
use crate::console::client::Call;
use crate::console::{Client, Failure, screen};

#[derive(Debug, Args)]
pub struct Remove {
    /// Name of the image
    #[arg(value_name = "REF")]
    pub name: String,
}

/// Removes the image and the layers that no other image has.
///
/// # Errors
/// When there is no such image, or a sandbox uses it.
pub async fn remove(client: &Client, args: &Remove) -> Result<(), Failure> {
    client.done(Call::new(Method::DELETE, path(&args.name), format!("remove image {}", args.name))).await?;
    screen::line(&args.name)
}
