//! `bivouac rm`: end sandboxes and remove them.

use clap::Args;
use hyper::Method;

use super::client::Call;
use super::{Client, Failure, find, screen};

#[derive(Debug, Args)]
pub struct Remove {
    /// Ids, beginnings of ids, or names of the sandboxes
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
}

/// Removes each sandbox and prints what was given for it. One that fails does not keep the others.
///
/// # Errors
/// The last failure; the ones before it are printed.
pub async fn remove(client: &Client, args: &Remove) -> Result<(), Failure> {
    let mut failed: Option<Failure> = None;
    for text in &args.ids {
        match by_text(client, text).await {
            Ok(()) => screen::line(text)?,
            Err(failure) => {
                if let Some(earlier) = failed.replace(failure) {
                    screen::note(&earlier.line());
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn by_text(client: &Client, text: &str) -> Result<(), Failure> {
    let id = find::id(client, text).await?;
    by_id(client, &id).await
}

/// Removes the sandbox with this id.
///
/// # Errors
/// When there is none, or the daemon cannot be asked.
pub async fn by_id(client: &Client, id: &str) -> Result<(), Failure> {
    client.done(Call::new(Method::DELETE, format!("/v1/sandboxes/{id}"), format!("remove sandbox {id}"))).await
}
