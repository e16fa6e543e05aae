//! What callers send to a driver.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::model::{PolicyChange, SandboxId};
use crate::sandbox::machine::{Refusal, Request};
use crate::sandbox::{Denial, Sandbox, expiry};

/// The answer to a call: the sandbox as it is after it.
pub(in crate::sandbox) type Answer = Result<Sandbox, Denial>;

#[derive(Debug)]
pub(in crate::sandbox) struct Call {
    pub ask: Ask,
    pub reply: oneshot::Sender<Answer>,
}

#[derive(Debug, Clone)]
pub(in crate::sandbox) enum Ask {
    Pause,
    Resume,
    Delete,
    /// Until this wall time, in microseconds of the Unix epoch.
    Renew(i64),
    /// Labels to set, and to remove where there is no value.
    Patch(BTreeMap<String, Option<String>>),
    Signal(i32),
    Policy(PolicyChange),
}

impl Ask {
    pub fn request(&self) -> Request {
        match self {
            Self::Pause => Request::Pause,
            Self::Resume => Request::Resume,
            Self::Delete => Request::Delete,
            Self::Renew(until) => Request::Renew(*until),
            Self::Patch(_) => Request::Patch,
            Self::Signal(signal) => Request::Signal(*signal),
            Self::Policy(_) => Request::Policy,
        }
    }
}

pub(in crate::sandbox) fn denial(refusal: Refusal, id: &SandboxId) -> Denial {
    match refusal {
        Refusal::NotFound => Denial::NotFound { id: id.to_string() },
        Refusal::NotRunning(phase) => Denial::NotRunning { phase },
        Refusal::NotPaused(phase) => Denial::NotPaused { phase },
        Refusal::NotAlive(phase) => Denial::NotAlive { phase },
        Refusal::NoExpiry => Denial::NoExpiry,
        Refusal::ExpiryInPast => Denial::ExpiryInPast,
        Refusal::ExpiryNotLater(current) => Denial::ExpiryNotLater { current: expiry::instant(current) },
    }
}
