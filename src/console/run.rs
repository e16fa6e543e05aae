//! `bivouac run`: a sandbox in the foreground, as if its program ran right here.

use clap::Args;

use super::attach::{self, Stay};
use super::attend::attend;
use super::create::{self, Create};
use super::exec::Interaction;
use super::signals::Signals;
use super::wire::Status;
use super::{Client, Failure, rm, screen};

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub create: Create,

    #[command(flatten)]
    pub ours: Interaction,

    /// Remove the sandbox when its program has ended
    #[arg(long)]
    pub rm: bool,
}

/// An error of ours, not of the program.
pub const OUR_ERROR: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// What a shell shows for SIGKILL, by which the daemon ends a sandbox.
const KILLED: u8 = 128 + 9;

/// Creates the sandbox, stays until its end, and returns the exit code for this process.
///
/// # Errors
/// When the daemon refuses or goes away.
pub async fn run(client: &Client, args: &Run) -> Result<u8, Failure> {
    args.ours.check()?;
    let mut signals = Signals::catch()?;
    let sandbox = create::submit(client, &args.create, &args.ours.extensions()).await?;
    // The output of one that has ended already is in its log.
    let takes_part = (args.ours.interactive || args.ours.tty) && !sandbox.status.is_over();
    let ended = if takes_part {
        attach::to(client, &sandbox.id, args.ours.tty, args.ours.interactive).await
    } else {
        attend(client, &sandbox, &mut signals).await.map(Stay::Ended)
    };
    if let Ok(Stay::Detached) = ended {
        attach::say_detached(&sandbox.id);
        return Ok(0);
    }
    if args.rm {
        rm::by_id(client, &sandbox.id).await.or_else(already_gone)?;
    }
    match ended? {
        Stay::Ended(status) => {
            explain(&sandbox.id, &status);
            Ok(exit_code(&status))
        }
        Stay::Code(code) => Ok(code),
        Stay::Detached => Ok(0),
    }
}

fn already_gone(failure: Failure) -> Result<(), Failure> {
    match failure {
        Failure::Refused { status: 404, .. } => Ok(()),
        other => Err(other),
    }
}

/// For this process.
pub fn exit_code(status: &Status) -> u8 {
    match (status.reason.as_deref(), status.exit_code) {
        (Some("entrypoint_not_found"), _) => NOT_FOUND,
        (Some("entrypoint_not_executable"), _) => NOT_EXECUTABLE,
        (_, Some(code)) => u8::try_from(code & 0xff).unwrap_or(OUR_ERROR),
        (Some("user_delete" | "ttl_expiry" | "oom_killed"), None) => KILLED,
        _ => OUR_ERROR,
    }
}

/// Says on standard error why a sandbox ended, where its program did not end by itself.
pub fn explain(id: &str, status: &Status) {
    if status.reason.as_deref() != Some("entrypoint_exited") {
        let reason = status.message.as_deref().or(status.reason.as_deref()).unwrap_or("for no reason that is known");
        screen::note(&format!("bivouac: sandbox {id}: {reason}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_exit_code_is_the_programs_or_says_who_failed() {
        for (reason, code, expected) in [
            ("entrypoint_exited", Some(0), 0),
            ("entrypoint_exited", Some(3), 3),
            ("entrypoint_exited", Some(143), 143),
            ("entrypoint_not_found", None, 127),
            ("entrypoint_not_found", Some(1), 127),
            ("entrypoint_not_executable", None, 126),
            ("start_failed", None, 125),
            ("lost", None, 125),
            ("oom_killed", Some(137), 137),
            ("ttl_expiry", None, 137),
            ("user_delete", None, 137),
        ] {
            let status = serde_json::from_value(json!({"state": "Failed", "reason": reason, "exitCode": code}));
            assert_eq!(exit_code(&status.expect("a status")), expected, "{reason} {code:?}");
        }
    }
}
