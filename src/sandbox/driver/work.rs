//! The host's work as futures that end in a request to the machine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::Reason;
use crate::sandbox::machine::{Effect, Request};
use crate::sandbox::{Fetch, Host, HostError, Launched, Presence};

use super::facts::Facts;

/// What work in flight ends in.
pub(super) struct Outcome {
    pub request: Request,
    pub launched: Option<Launched>,
}

pub(super) type InFlight = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(super) fn launch(host: Arc<dyn Host>, facts: &Facts) -> InFlight {
    let (id, spec, base) = (facts.id.clone(), facts.spec.clone(), facts.base);
    Box::pin(async move {
        let Some(base) = base else {
            let message = "launch the sandbox: it has no id range".to_owned();
            return done(Request::LaunchFailed(HostError { reason: Reason::StartFailed, message }));
        };
        match host.launch(&id, base, &spec).await {
            Ok(launched) => {
                Outcome { request: Request::Launched { notes: launched.notes.clone() }, launched: Some(launched) }
            }
            Err(error) => done(Request::LaunchFailed(error)),
        }
    })
}

pub(super) fn fetch(host: Arc<dyn Host>, facts: &Facts, fetch: Fetch, tell: watch::Sender<String>) -> InFlight {
    let (id, image) = (facts.id.clone(), facts.spec.image.clone());
    Box::pin(async move {
        // After a restart it may have come meanwhile.
        if matches!(host.check_image(&image, &fetch).await, Ok(Presence::Here)) {
            return done(Request::Fetched);
        }
        let fetched = host.fetch_image(&id, &image, fetch, tell).await;
        done(either(fetched, Request::Fetched, Request::FetchFailed))
    })
}

/// The work that an effect asks for; `None` for those that are no work.
pub(super) fn start(effect: &Effect, host: Arc<dyn Host>, facts: &Facts) -> Option<InFlight> {
    let (id, base) = (facts.id.clone(), facts.base);
    Some(match *effect {
        Effect::Launch => launch(host, facts),
        Effect::Freeze => {
            Box::pin(async move { done(either(host.freeze(&id).await, Request::Frozen, Request::FreezeFailed)) })
        }
        Effect::Thaw => {
            Box::pin(async move { done(either(host.thaw(&id).await, Request::Thawed, Request::ThawFailed)) })
        }
        Effect::Stop => Box::pin(async move {
            // Without a range of its own nothing of it is on the host any more.
            let Some(base) = base else { return done(Request::Stopped) };
            done(either(host.stop(&id, base).await, Request::Stopped, Request::StopFailed))
        }),
        Effect::Destroy => Box::pin(async move {
            let Some(base) = base else { return done(Request::Destroyed) };
            done(either(host.destroy(&id, base).await, Request::Destroyed, Request::DestroyFailed))
        }),
        Effect::Rest(time) => Box::pin(async move {
            tokio::time::sleep(time).await;
            done(Request::Rested)
        }),
        Effect::Signal(_) | Effect::Forget => return None,
    })
}

fn done(request: Request) -> Outcome {
    Outcome { request, launched: None }
}

fn either(result: Result<(), HostError>, good: Request, bad: fn(HostError) -> Request) -> Request {
    match result {
        Ok(()) => good,
        Err(error) => bad(error),
    }
}
