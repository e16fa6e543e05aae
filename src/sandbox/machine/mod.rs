//! The state machine: pure, the only place that decides what a sandbox becomes.
//!
//! `decide(state, request) -> Accept(next, effect) | Ignore | Wait | Deny`. It reads no clock and does no I/O: the
//! clocks come in with the [`Context`], and the driver carries the effect out after the record of the next state
//! was written. The diagram stands in [`super`].

mod calls;
mod events;
mod found;
mod words;

use std::time::Duration;

use super::expiry::{self, Now};
use super::{End, HostError, LifecycleConfig};
use crate::model::{Event, History, Phase, Reason, Status};
use crate::store::{Deadline, Expiry};

/// What the machine knows of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub status: Status,
    pub expiry: Option<Expiry>,
    /// A delete was accepted, or the time was up: from now on nobody may call, and nothing brings it back.
    pub removed: bool,
    /// Nothing but logs is on the host.
    pub cleaned: bool,
    /// When the record of a removed sandbox goes; set when its destruction is done.
    pub forget: Option<Deadline>,
    /// Facts for the user, shown while it runs.
    pub notes: Vec<String>,
    /// What the host is doing about it now. At most one thing at a time.
    pub work: Option<Work>,
    /// Failed attempts in a row to clean up.
    pub attempts: u32,
    /// How it came to be in this state.
    pub history: History,
}

/// Something that takes time and ends in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Getting the image.
    Fetch,
    Launch,
    Freeze,
    /// Thawing after a freeze that failed with this message.
    Undo(String),
    Thaw,
    Stop,
    Destroy,
    /// Waiting before the clean-up is tried again.
    Rest,
}

/// What a state machine may be asked or told.
#[derive(Debug, Clone)]
pub enum Request {
    // Callers ask:
    Pause,
    Resume,
    Delete,
    /// Lives until this wall time, in microseconds of the Unix epoch.
    Renew(i64),
    /// Changes the labels (which the machine does not look at).
    Patch,
    Signal(i32),
    /// Changes what it may reach (which the machine does not look at).
    Policy,
    // The clock says:
    Expire,
    Forget,
    Rested,
    // The host says:
    /// How far the image is.
    Fetching(String),
    Fetched,
    FetchFailed(HostError),
    Launched {
        notes: Vec<String>,
    },
    LaunchFailed(HostError),
    Frozen,
    FreezeFailed(HostError),
    Thawed,
    ThawFailed(HostError),
    Ended(End),
    Stopped,
    StopFailed(HostError),
    Destroyed,
    DestroyFailed(HostError),
    // A daemon that starts finds:
    /// The sandbox lives; whether it is frozen, if the kernel could be asked.
    Found {
        frozen: Option<bool>,
    },
    /// The sandbox does not live, or cannot be proved to be the recorded one.
    Lost(String),
    /// The host was restarted since.
    Rebooted,
    /// The daemon died while the sandbox was being made.
    Unmade,
    /// The daemon died while the image was being fetched, which begins anew.
    Refetch,
    /// Go on with whatever clean-up is left.
    Settle,
}

/// What else a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub now: Now,
    pub config: &'a LifecycleConfig,
    /// The sandbox's time to live, as asked for.
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The state becomes this; then the effect is carried out.
    Accept(Box<State>, Option<Effect>),
    /// It says nothing new.
    Ignore,
    /// To be asked again when the work in flight is done.
    Wait,
    Deny(Refusal),
}

/// What the driver has to do after the next state is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Launch,
    Freeze,
    Thaw,
    Stop,
    Destroy,
    /// Come back with [`Request::Rested`] after this time.
    Rest(Duration),
    Signal(i32),
    /// Delete the record; the sandbox is no more.
    Forget,
}

/// Why a caller's request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    NotRunning(Phase),
    NotPaused(Phase),
    NotAlive(Phase),
    NoExpiry,
    ExpiryInPast,
    /// Carries the current expiry in microseconds of the Unix epoch.
    ExpiryNotLater(i64),
}

pub fn decide(state: &State, request: &Request, context: Context<'_>) -> Decision {
    match request {
        Request::Pause
        | Request::Resume
        | Request::Renew(_)
        | Request::Patch
        | Request::Signal(_)
        | Request::Policy
        | Request::Delete => calls::decide(state, request, context),
        Request::Found { .. }
        | Request::Lost(_)
        | Request::Rebooted
        | Request::Unmade
        | Request::Refetch
        | Request::Settle => found::decide(state, request, context),
        _ => events::decide(state, request, context),
    }
}

impl State {
    /// A sandbox that is about to be made.
    pub fn new(context: Context<'_>) -> Self {
        let deadline = context.timeout.map(|timeout| expiry::after(context.now, timeout));
        let status = Status {
            phase: Phase::Pending,
            reason: Reason::Provisioning,
            message: "the sandbox is being made".to_owned(),
            since_unix_nanos: context.now.unix_nanos,
            exit: None,
        };
        Self {
            history: remembered(History::default(), &status),
            status,
            expiry: deadline.map(|deadline| Expiry { deadline, provisional: true }),
            removed: false,
            cleaned: false,
            forget: None,
            notes: Vec::new(),
            work: Some(Work::Launch),
            attempts: 0,
        }
    }

    /// The same, but its image is to be fetched first.
    pub fn fetching(mut self, image: &str) -> Self {
        self.status.message = format!("pulling {image}");
        Self { history: remembered(History::default(), &self.status), work: Some(Work::Fetch), ..self }
    }

    pub fn phase(&self) -> Phase {
        self.status.phase
    }

    /// On the way to another state, in which the call that asked for it is answered.
    pub fn in_transition(&self) -> bool {
        matches!(self.phase(), Phase::Pending | Phase::Pausing | Phase::Resuming)
    }

    /// The entrypoint is there, and nobody is busy with it: its end counts.
    pub fn watches_end(&self) -> bool {
        matches!(self.phase(), Phase::Running | Phase::Paused)
    }

    /// When the clock has something to say, and what.
    pub fn alarm(&self) -> Option<(Deadline, Request)> {
        if self.removed {
            return self.forget.map(|deadline| (deadline, Request::Forget));
        }
        let busy = self.work.is_some() && matches!(self.phase(), Phase::Pausing | Phase::Resuming);
        let expiry = self.expiry.filter(|expiry| !expiry.provisional && !busy)?;
        Some((expiry.deadline, Request::Expire))
    }

    /// This state with another phase and its cause.
    fn becomes(&self, phase: Phase, reason: Reason, message: String, now: Now) -> Self {
        let exit = self.status.exit;
        let status = Status { phase, reason, message, since_unix_nanos: now.unix_nanos, exit };
        Self { history: remembered(self.history.clone(), &status), status, ..self.clone() }
    }

    fn doing(mut self, work: Option<Work>) -> Self {
        self.work = work;
        self
    }
}

fn remembered(mut history: History, status: &Status) -> History {
    let Status { phase, reason, message, since_unix_nanos, .. } = status;
    let (phase, reason, message) = (*phase, *reason, message.clone());
    history.add(Event { unix_micros: since_unix_nanos / 1000, phase, reason, message });
    history
}

fn accept(next: State, effect: impl Into<Option<Effect>>) -> Decision {
    Decision::Accept(Box::new(next), effect.into())
}

#[cfg(test)]
mod tests;
