//! What a daemon finds when it starts. The record tells what was meant, the kernel what is.

use super::{Context, Decision, Effect, Request, State, Work, accept, events, words};
use crate::model::{Exit, Phase, Reason};

pub(super) fn decide(state: &State, request: &Request, context: Context<'_>) -> Decision {
    // Only a state that nobody works on was just loaded.
    if state.work.is_some() {
        return Decision::Ignore;
    }
    let lives = matches!(state.phase(), Phase::Running | Phase::Pausing | Phase::Paused | Phase::Resuming);
    match request {
        Request::Found { frozen } if lives => found(state, *frozen, context),
        Request::Lost(problem) if lives => gone(state, Reason::Lost, problem.clone(), context),
        Request::Rebooted if lives => {
            gone(state, Reason::HostRebooted, "the host was restarted while the sandbox lived".to_owned(), context)
        }
        Request::Rebooted if state.phase() == Phase::Pending => {
            let message = "the host was restarted while the sandbox was being made".to_owned();
            events::fail(state, Reason::HostRebooted, message, context)
        }
        Request::Unmade if state.phase() == Phase::Pending => {
            let message = "the daemon restarted while the sandbox was being made".to_owned();
            events::fail(state, Reason::StartFailed, message, context)
        }
        Request::Refetch if state.phase() == Phase::Pending => accept(state.clone().doing(Some(Work::Fetch)), None),
        Request::Settle => events::clean(state),
        _ => Decision::Ignore,
    }
}

/// It ended while nobody looked.
fn gone(state: &State, reason: Reason, message: String, context: Context<'_>) -> Decision {
    let mut known = state.clone();
    known.status.exit = known.status.exit.or(Some(Exit::Unknown));
    events::fail(&known, reason, message, context)
}

/// What was meant decides. A freeze or thaw that may have been interrupted is done again: both are harmless twice.
fn found(state: &State, frozen: Option<bool>, context: Context<'_>) -> Decision {
    let meant = matches!(state.phase(), Phase::Pausing | Phase::Paused);
    match (state.phase(), frozen == Some(meant)) {
        (Phase::Running | Phase::Paused, true) => Decision::Ignore,
        (Phase::Pausing, true) => {
            let message = "the processes are frozen; the time of life counts on".to_owned();
            accept(state.becomes(Phase::Paused, Reason::UserPause, message, context.now), None)
        }
        (_, true) => {
            let message = words::running("the entrypoint runs", &state.notes);
            accept(state.becomes(Phase::Running, Reason::UserResume, message, context.now), None)
        }
        (_, false) if meant => {
            let message = "the processes are being frozen again after a restart of the daemon".to_owned();
            let next = state.becomes(Phase::Pausing, Reason::UserPause, message, context.now);
            accept(next.doing(Some(Work::Freeze)), Effect::Freeze)
        }
        (_, false) => {
            let message = "the processes are being thawed after a restart of the daemon".to_owned();
            let next = state.becomes(Phase::Resuming, Reason::UserResume, message, context.now);
            accept(next.doing(Some(Work::Thaw)), Effect::Thaw)
        }
    }
}
