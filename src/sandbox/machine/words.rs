//! The messages that people read in a sandbox's status.

use nix::sys::signal::Signal;

use crate::model::{Exit, Reason};
use crate::sandbox::End;

/// What a running sandbox says, with the facts that its user should know.
pub(super) fn running(what: &str, notes: &[String]) -> String {
    if notes.is_empty() { what.to_owned() } else { format!("{what}; note: {}", notes.join("; ")) }
}

pub(super) fn removed(reason: Reason) -> String {
    match reason {
        Reason::TtlExpiry => "the sandbox's time was up".to_owned(),
        _ => "the sandbox was deleted".to_owned(),
    }
}

pub(super) fn ended(end: &End) -> String {
    let how = match end.exit {
        Exit::Code(code) => format!("the entrypoint exited with code {code}"),
        Exit::Signal(signal) => format!("the entrypoint was killed by {}", signal_name(signal)),
        Exit::Unknown => "the entrypoint ended and nobody saw how".to_owned(),
    };
    let lost = if end.lost { "; the sandbox's first process was killed from outside" } else { "" };
    let oom = end.oom.map(|oom| format!("; {oom}")).unwrap_or_default();
    format!("{how}{lost}{oom}")
}

fn signal_name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => format!("signal {number} ({signal})"),
        Err(_) => format!("signal {number}"),
    }
}
