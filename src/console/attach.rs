//! `bivouac attach`: the program of a sandbox, as if it ran right here.

use clap::Args;
use hyper::Method;

use super::client::Call;
use super::take_part::Part;
use super::wire::{Sandbox, Status};
use super::{Client, Failure, find, run, screen, terminal};

#[derive(Debug, Args)]
pub struct Attach {
    /// Id, beginning of an id, or name of the sandbox
    pub id: String,

    /// Only watch: pass no input on
    #[arg(long)]
    pub no_stdin: bool,
}

/// How it came to an end.
#[derive(Debug)]
pub enum Stay {
    /// The sandbox has ended.
    Ended(Status),
    /// It is gone; what was heard last.
    Code(u8),
    /// It goes on.
    Detached,
}

/// Stays to the end of the program and returns its exit code.
///
/// # Errors
/// When there is no such sandbox, another client has it, or the daemon goes away.
pub async fn attach(client: &Client, args: &Attach) -> Result<u8, Failure> {
    let id = find::id(client, &args.id).await?;
    let sandbox = look(client, &id).await?;
    let has = |name: &str| sandbox.extensions.get(name).is_some_and(|value| value != "false");
    let tty = has("bivouac.terminal");
    let stdin = (tty && terminal::stdin_is_one() || !tty && has("bivouac.stdin")) && !args.no_stdin;
    match to(client, &id, tty, stdin).await? {
        Stay::Ended(status) => {
            run::explain(&id, &status);
            Ok(run::exit_code(&status))
        }
        Stay::Code(code) => Ok(code),
        Stay::Detached => {
            say_detached(&id);
            Ok(0)
        }
    }
}

/// The same with a sandbox whose whole id is known.
///
/// # Errors
/// As [`attach`].
pub async fn to(client: &Client, id: &str, tty: bool, stdin: bool) -> Result<Stay, Failure> {
    let (path, action) = (format!("/v1/sandboxes/{id}/attach"), format!("attach to sandbox {id}"));
    let part = Part { client, path, action, tty, stdin, detaches: tty && stdin };
    let Some(code) = part.take().await? else { return Ok(Stay::Detached) };
    match look(client, id).await {
        Ok(sandbox) if sandbox.status.is_over() => Ok(Stay::Ended(sandbox.status)),
        _ => Ok(Stay::Code(code)),
    }
}

pub fn say_detached(id: &str) {
    screen::note(&format!("bivouac: detached; sandbox {id} goes on (bivouac attach comes back to it)"));
}

async fn look(client: &Client, id: &str) -> Result<Sandbox, Failure> {
    client.json(Call::new(Method::GET, format!("/v1/sandboxes/{id}"), format!("look at sandbox {id}"))).await
}
