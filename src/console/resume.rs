//! `bivouac resume`: let a paused sandbox go on.

use clap::Args;
use hyper::Method;

use super::client::Call;
use super::{Client, Failure, find};

#[derive(Debug, Args)]
pub struct Resume {
    /// Id, beginning of an id, or name of the sandbox
    pub id: String,
}

/// Thaws the sandbox; returns when it is Running.
///
/// # Errors
/// When there is no such sandbox, or its state does not allow it.
pub async fn resume(client: &Client, args: &Resume) -> Result<(), Failure> {
    let id = find::id(client, &args.id).await?;
    client.done(Call::new(Method::POST, format!("/v1/sandboxes/{id}/resume"), format!("resume sandbox {id}"))).await
}
