//! What callers ask for, and the end of time, which is a delete that nobody asked for.

use chrono::SecondsFormat;

use super::{Context, Decision, Effect, Refusal, Request, State, Work, accept};
use crate::model::{Event, Phase, Reason};
use crate::sandbox::expiry;
use crate::store::Expiry;

pub(super) fn decide(state: &State, request: &Request, context: Context<'_>) -> Decision {
    if state.removed {
        return Decision::Deny(Refusal::NotFound);
    }
    if waits(state) {
        return Decision::Wait;
    }
    match request {
        Request::Pause => pause(state, context),
        Request::Resume => resume(state, context),
        Request::Renew(until) => renew(state, *until, context),
        Request::Patch => accept(state.clone(), None),
        Request::Signal(signal) => self::signal(state, *signal),
        Request::Policy => policy(state),
        Request::Delete => remove(state, Reason::UserDelete, "the sandbox was deleted", context),
        _ => Decision::Ignore,
    }
}

/// A freeze or a thaw takes a moment; the sandbox is in neither state until it is done.
pub(super) fn waits(state: &State) -> bool {
    state.work.is_some() && matches!(state.phase(), Phase::Pausing | Phase::Resuming)
}

fn pause(state: &State, context: Context<'_>) -> Decision {
    if state.phase() != Phase::Running {
        return Decision::Deny(Refusal::NotRunning(state.phase()));
    }
    let message = "the processes are being frozen".to_owned();
    let next = state.becomes(Phase::Pausing, Reason::UserPause, message, context.now);
    accept(next.doing(Some(Work::Freeze)), Effect::Freeze)
}

fn resume(state: &State, context: Context<'_>) -> Decision {
    if state.phase() != Phase::Paused {
        return Decision::Deny(Refusal::NotPaused(state.phase()));
    }
    let message = "the processes are being thawed".to_owned();
    let next = state.becomes(Phase::Resuming, Reason::UserResume, message, context.now);
    accept(next.doing(Some(Work::Thaw)), Effect::Thaw)
}

/// A sandbox that ended by itself may be renewed too: it is kept, with its logs, until then.
fn renew(state: &State, until: i64, context: Context<'_>) -> Decision {
    let Some(current) = state.expiry else {
        return Decision::Deny(Refusal::NoExpiry);
    };
    if until <= context.now.unix_micros() {
        return Decision::Deny(Refusal::ExpiryInPast);
    }
    let current = expiry::wall_micros(current.deadline, context.now);
    if until <= current && !context.config.allow_shorter_expiration {
        return Decision::Deny(Refusal::ExpiryNotLater(current));
    }
    // Who names an hour while the sandbox is being made means that hour: it is no longer provisional.
    let deadline = expiry::at(context.now, until);
    let mut history = state.history.clone();
    let message = format!("its time is up at {}", expiry::instant(until).to_rfc3339_opts(SecondsFormat::Secs, true));
    let (unix_micros, phase) = (context.now.unix_micros(), state.phase());
    history.add(Event { unix_micros, phase, reason: Reason::UserRenew, message });
    accept(State { expiry: Some(Expiry { deadline, provisional: false }), history, ..state.clone() }, None)
}

fn signal(state: &State, signal: i32) -> Decision {
    match state.phase() {
        Phase::Running => accept(state.clone(), Effect::Signal(signal)),
        phase @ (Phase::Terminated | Phase::Failed) => Decision::Deny(Refusal::NotAlive(phase)),
        phase => Decision::Deny(Refusal::NotRunning(phase)),
    }
}

/// Of a sandbox that is there: one that is being made has the policy that it was asked for with.
fn policy(state: &State) -> Decision {
    match state.phase() {
        Phase::Running | Phase::Paused => accept(state.clone(), None),
        phase @ (Phase::Terminated | Phase::Failed) => Decision::Deny(Refusal::NotAlive(phase)),
        phase => Decision::Deny(Refusal::NotRunning(phase)),
    }
}

/// From here on there is no way back. Work in flight is waited for, and followed by the destruction.
pub(super) fn remove(state: &State, reason: Reason, message: &str, context: Context<'_>) -> Decision {
    let next = state.becomes(Phase::Stopping, reason, message.to_owned(), context.now);
    let next = State { removed: true, attempts: 0, ..next };
    match next.work {
        // Nothing of a sandbox whose image is being fetched is half made: that is simply given up.
        None | Some(Work::Rest | Work::Fetch) => accept(next.doing(Some(Work::Destroy)), Effect::Destroy),
        Some(_) => accept(next, None),
    }
}
