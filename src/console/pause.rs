//! `bivouac pause`: stop a sandbox where it stands.

use clap::Args;
use hyper::Method;

use super::client::Call;
use super::{Client, Failure, find};

#[derive(Debug, Args)]
pub struct Pause {
    /// Id, beginning of an id, or name of the sandbox
    pub id: String,
}

/// Freezes every process of the sandbox; returns when it is Paused.
///
/// # Errors
/// When there is no such sandbox, or its state does not allow it.
pub async fn pause(client: &Client, args: &Pause) -> Result<(), Failure> {
    let id = find::id(client, &args.id).await?;
    client.done(Call::new(Method::POST, format!("/v1/sandboxes/{id}/pause"), format!("pause sandbox {id}"))).await
}
