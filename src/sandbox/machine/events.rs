//! What the host and the clock report.

use std::time::Duration;

use super::{Context, Decision, Effect, Request, State, Work, accept, calls, words};
use crate::model::{Exit, Phase, Reason};
use crate::sandbox::expiry;
use crate::sandbox::{End, HostError};
use crate::store::Expiry;

/// The first pause between two attempts to clean up, and the longest: a host that cannot is asked once a minute.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(60);

pub(super) fn decide(state: &State, request: &Request, context: Context<'_>) -> Decision {
    match (&state.work, request) {
        (_, Request::Expire) => expire(state, context),
        (_, Request::Forget) => forget(state),
        (None, Request::Ended(end)) if state.watches_end() => ended(state, end, context),
        (Some(Work::Freeze | Work::Undo(_) | Work::Thaw), Request::Ended(_)) => Decision::Wait,
        (Some(Work::Fetch), Request::Fetching(text)) => fetching(state, text),
        (Some(Work::Fetch), Request::Fetched) => fetched(state, context),
        (Some(Work::Fetch), Request::FetchFailed(error)) => fail(state, error.reason, error.message.clone(), context),
        (Some(Work::Launch), Request::Launched { notes }) => launched(state, notes, context),
        (Some(Work::Launch), Request::LaunchFailed(error)) => launch_failed(state, error, context),
        (Some(Work::Freeze), Request::Frozen) => paused(state, context),
        (Some(Work::Freeze), Request::FreezeFailed(error)) => undo(state, error),
        (Some(Work::Undo(failed)), Request::Thawed) => unpaused(state, failed, context),
        (Some(Work::Undo(failed)), Request::ThawFailed(error)) => stuck(state, failed, error, context),
        (Some(Work::Thaw), Request::Thawed) => resumed(state, context),
        (Some(Work::Thaw), Request::ThawFailed(error)) => resume_failed(state, error, context),
        (Some(Work::Stop), Request::Stopped) => stopped(state),
        (Some(Work::Stop), Request::StopFailed(error)) => stop_failed(state, error),
        (Some(Work::Destroy), Request::Destroyed) => destroyed(state, context),
        (Some(Work::Destroy), Request::DestroyFailed(error)) => destroy_failed(state, error),
        (Some(Work::Rest), Request::Rested) => clean(state),
        // A report of work that nobody waits for any more.
        _ => Decision::Ignore,
    }
}

fn expire(state: &State, context: Context<'_>) -> Decision {
    if state.removed || state.expiry.is_none() {
        return Decision::Ignore;
    }
    if calls::waits(state) {
        return Decision::Wait;
    }
    calls::remove(state, Reason::TtlExpiry, "the sandbox's time was up", context)
}

fn forget(state: &State) -> Decision {
    match state.forget {
        Some(_) => accept(state.clone(), Effect::Forget),
        None => Decision::Ignore,
    }
}

/// Nothing happened that anybody would look for later.
fn fetching(state: &State, text: &str) -> Decision {
    let mut next = state.clone();
    text.clone_into(&mut next.status.message);
    accept(next, None)
}

fn fetched(state: &State, context: Context<'_>) -> Decision {
    let message = "the image is here; the sandbox is being made".to_owned();
    let next = state.becomes(Phase::Pending, Reason::Provisioning, message, context.now);
    accept(next.doing(Some(Work::Launch)), Effect::Launch)
}

fn launched(state: &State, notes: &[String], context: Context<'_>) -> Decision {
    if state.removed {
        return accept(state.clone().doing(Some(Work::Destroy)), Effect::Destroy);
    }
    let message = words::running("the entrypoint runs", notes);
    let next = state.becomes(Phase::Running, Reason::Started, message, context.now);
    accept(State { expiry: firm(state, context), notes: notes.to_vec(), work: None, ..next }, None)
}

fn launch_failed(state: &State, error: &HostError, context: Context<'_>) -> Decision {
    if state.removed {
        return accept(state.clone().doing(Some(Work::Destroy)), Effect::Destroy);
    }
    fail(state, error.reason, error.message.clone(), context)
}

/// The time of life counts from now, unless somebody named the hour of its end.
pub(super) fn firm(state: &State, context: Context<'_>) -> Option<Expiry> {
    let expiry = state.expiry?;
    let counted = context.timeout.filter(|_| expiry.provisional).map(|timeout| expiry::after(context.now, timeout));
    Some(Expiry { deadline: counted.unwrap_or(expiry.deadline), provisional: false })
}

/// It has failed for good; what it has on the host goes, its logs stay.
pub(super) fn fail(state: &State, reason: Reason, message: String, context: Context<'_>) -> Decision {
    let next = state.becomes(Phase::Failed, reason, message, context.now);
    accept(State { expiry: firm(state, context), work: Some(Work::Stop), ..next }, Effect::Stop)
}

fn paused(state: &State, context: Context<'_>) -> Decision {
    let message = "the processes are frozen; the time of life counts on".to_owned();
    accept(state.becomes(Phase::Paused, Reason::UserPause, message, context.now).doing(None), None)
}

/// What froze in part is thawed again; nobody is told before that is done.
fn undo(state: &State, error: &HostError) -> Decision {
    accept(state.clone().doing(Some(Work::Undo(error.message.clone()))), Effect::Thaw)
}

fn unpaused(state: &State, failed: &str, context: Context<'_>) -> Decision {
    let message = words::running(&format!("the entrypoint runs; pausing it failed: {failed}"), &state.notes);
    accept(state.becomes(Phase::Running, Reason::PauseFailed, message, context.now).doing(None), None)
}

/// Neither freeze nor thaw: called Paused, because from there both resume and delete can be tried.
fn stuck(state: &State, failed: &str, error: &HostError, context: Context<'_>) -> Decision {
    let message = format!("pausing failed: {failed}; then thawing failed: {}; resume tries that again", error.message);
    accept(state.becomes(Phase::Paused, Reason::PauseFailed, message, context.now).doing(None), None)
}

fn resumed(state: &State, context: Context<'_>) -> Decision {
    let message = words::running("the entrypoint runs", &state.notes);
    accept(state.becomes(Phase::Running, Reason::UserResume, message, context.now).doing(None), None)
}

fn resume_failed(state: &State, error: &HostError, context: Context<'_>) -> Decision {
    let message = format!("the processes are frozen; resuming them failed: {}", error.message);
    accept(state.becomes(Phase::Paused, Reason::ResumeFailed, message, context.now).doing(None), None)
}

fn ended(state: &State, end: &End, context: Context<'_>) -> Decision {
    let (phase, reason) = match end {
        End { lost: true, .. } => (Phase::Failed, Reason::Lost),
        End { exit: Exit::Code(0), .. } => (Phase::Terminated, Reason::EntrypointExited),
        End { oom: Some(_), .. } => (Phase::Failed, Reason::OomKilled),
        End { .. } => (Phase::Failed, Reason::EntrypointExited),
    };
    let mut next = state.becomes(phase, reason, words::ended(end), context.now);
    next.status.exit = Some(end.exit);
    accept(next.doing(Some(Work::Stop)), Effect::Stop)
}

fn stopped(state: &State) -> Decision {
    let next = State { cleaned: true, attempts: 0, ..state.clone() };
    if state.removed {
        return accept(next.doing(Some(Work::Destroy)), Effect::Destroy);
    }
    accept(next.doing(None), None)
}

/// The status keeps telling how it ended; that cleaning up takes long is for the log.
fn stop_failed(state: &State, error: &HostError) -> Decision {
    if state.removed {
        return destroy_failed(state, error);
    }
    rest(state.clone())
}

fn destroyed(state: &State, context: Context<'_>) -> Decision {
    let message = words::removed(state.status.reason);
    let next = state.becomes(Phase::Terminated, state.status.reason, message, context.now);
    let forget = Some(expiry::after(context.now, context.config.terminated_retention));
    accept(State { forget, cleaned: true, attempts: 0, work: None, ..next }, None)
}

fn destroy_failed(state: &State, error: &HostError) -> Decision {
    let mut next = state.clone();
    next.status.message =
        format!("{}; cleaning up failed and is tried again: {}", words::removed(state.status.reason), error.message);
    rest(next)
}

fn rest(state: State) -> Decision {
    let doubled = FIRST_REST.saturating_mul(1 << state.attempts.min(16));
    let attempts = state.attempts.saturating_add(1);
    accept(State { attempts, work: Some(Work::Rest), ..state }, Effect::Rest(doubled.min(LONGEST_REST)))
}

/// Whatever clean-up this state needs next.
pub(super) fn clean(state: &State) -> Decision {
    match (state.phase(), state.removed, state.cleaned) {
        (Phase::Stopping, ..) => accept(state.clone().doing(Some(Work::Destroy)), Effect::Destroy),
        (Phase::Terminated | Phase::Failed, false, false) => {
            accept(state.clone().doing(Some(Work::Stop)), Effect::Stop)
        }
        _ => Decision::Ignore,
    }
}
