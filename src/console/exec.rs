//! `bivouac exec`: a program in a sandbox that runs, as if it ran right here.

use std::collections::BTreeMap;

use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Call;
use super::create::variable;
use super::take_part::Part;
use super::{Client, Failure, find, terminal};

#[derive(Debug, Args)]
pub struct Exec {
    /// Id, beginning of an id, or name of the sandbox
    pub id: String,

    #[command(flatten)]
    pub ours: Interaction,

    /// Variable of the program's environment; K alone passes on the caller's own value
    #[arg(long, short, value_name = "K=V", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// User to run it as: a name or a number, with :GROUP behind it if need be
    #[arg(long, short, value_name = "USER")]
    pub user: Option<String>,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// What of ours a program gets.
#[derive(Debug, Default, Args)]
pub struct Interaction {
    /// Pass standard input on to the program
    #[arg(long, short)]
    pub interactive: bool,

    /// Give the program a terminal; with -i every key goes to it
    #[arg(long, short)]
    pub tty: bool,

    /// Directory that the program starts in
    #[arg(long, short, value_name = "DIR")]
    pub workdir: Option<String>,
}

/// A program for a sandbox.
#[derive(Debug)]
pub struct Program<'a> {
    pub command: &'a [String],
    pub env: &'a [(String, String)],
    pub user: Option<&'a str>,
    pub ours: &'a Interaction,
}

/// Runs the program to its end and returns its exit code.
///
/// # Errors
/// When there is no such sandbox, it does not run, or the daemon goes away.
pub async fn exec(client: &Client, args: &Exec) -> Result<u8, Failure> {
    args.ours.check()?;
    let id = find::id(client, &args.id).await?;
    let Exec { ours, env, user, command, .. } = args;
    in_sandbox(client, &id, &Program { command, env, user: user.as_deref(), ours }).await
}

impl Interaction {
    /// What a create says of it.
    #[must_use]
    pub fn extensions(&self) -> BTreeMap<&'static str, String> {
        let mut extensions = BTreeMap::new();
        if self.interactive {
            extensions.insert("bivouac.stdin", "true".to_owned());
        }
        if self.tty {
            let size = terminal::size().map(|(columns, rows)| format!("{columns}x{rows}"));
            extensions.insert("bivouac.terminal", size.unwrap_or_else(|| "true".to_owned()));
        }
        extensions.extend(self.workdir.clone().map(|dir| ("bivouac.cwd", dir)));
        extensions
    }

    /// # Errors
    /// When keys are to be passed on and there are none.
    pub fn check(&self) -> Result<(), Failure> {
        if self.tty && self.interactive && !terminal::stdin_is_one() {
            return Err(Failure::Unusable {
                action: "pass every key on".to_owned(),
                problem: "standard input is no terminal; leave -t out to pass on what comes through it".to_owned(),
            });
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Opened {
    session_id: String,
}

/// The same in a sandbox whose whole id is known.
///
/// # Errors
/// As [`exec`].
pub async fn in_sandbox(client: &Client, id: &str, program: &Program<'_>) -> Result<u8, Failure> {
    let sessions = format!("/v1/sandboxes/{id}/proxy/44772/pty");
    let action = format!("run a program in sandbox {id}");
    let call = Call::new(Method::POST, sessions.clone(), action.clone());
    let opened: Opened = client.json(call.with(request(program))).await?;
    let session = format!("{sessions}/{}", opened.session_id);
    let (tty, stdin) = (program.ours.tty, program.ours.interactive);
    let path = format!("{session}/ws");
    let part = Part { client, path, action: action.clone(), tty, stdin, detaches: false };
    let ended = part.take().await;
    // It has ended, or nobody wants it any more. Where the sandbox is gone, so is this.
    drop(client.done(Call::new(Method::DELETE, session, action)).await);
    ended.map(|code| code.unwrap_or_default())
}

fn request(program: &Program<'_>) -> Value {
    let envs: BTreeMap<_, _> = program.env.iter().map(|(name, value)| (name, value)).collect();
    json!({
        "argv": program.command,
        "envs": envs,
        "user": program.user,
        "cwd": program.ours.workdir,
        "stdin": program.ours.interactive,
        "wait_for_reader": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_carries_what_was_asked() {
        let ours = Interaction { interactive: true, tty: false, workdir: Some("/tmp".to_owned()) };
        let (command, env) = (["a".to_owned(), " b ".to_owned()], [("K".to_owned(), "V=1".to_owned())]);
        let program = Program { command: &command, env: &env, user: Some("www"), ours: &ours };
        assert_eq!(
            request(&program),
            json!({"argv": ["a", " b "], "envs": {"K": "V=1"}, "user": "www", "cwd": "/tmp", "stdin": true, "wait_for_reader": true})
        );
    }
}
