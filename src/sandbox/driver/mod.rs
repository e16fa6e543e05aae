//! The driver: one task for each sandbox, which makes all of its changes.
//!
//! It asks the machine, writes the record, acts, and publishes what is so now. Callers reach it through a bounded
//! inbox; reading needs no driver.

mod adopt;
mod call;
mod change;
mod facts;
mod govern;
mod guard;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::expiry::{self, Now};
use super::machine::{Context, Request, State, Work};
use super::snapshot::Snapshot;
use super::{Fetch, Host, HostError, IdBase, Life, LifecycleConfig};
use crate::model::SandboxId;
use crate::store::Store;
use work::{InFlight, Outcome};

pub(super) use adopt::Fate;
pub(super) use call::{Answer, Ask, Call};
pub(super) use facts::{Facts, take_apart};

/// Callers beyond this many wait for room. Calls take microseconds, or, while the sandbox is being frozen, milliseconds.
pub(super) const INBOX: usize = 16;
/// How long until a record that could not be written (a full disk) is written again.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// What all drivers share.
pub(super) struct Shared {
    pub host: Arc<dyn Host>,
    pub store: Arc<Store>,
    pub config: LifecycleConfig,
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    facts: Facts,
    state: State,
    /// The record does not say what is so: a write failed.
    stale: bool,
    /// A range that is free as soon as the record no longer names it.
    freed: Option<IdBase>,
    /// How often the driver has panicked.
    panics: u32,
    life: Option<Box<dyn Life>>,
    work: Option<InFlight>,
    /// How far the work in flight is.
    news: Option<watch::Receiver<String>>,
    /// Who waits for the transition in flight, and what went wrong with it.
    asker: Option<oneshot::Sender<Answer>>,
    fault: Option<HostError>,
    /// A call that came during a transition; while it is held, the inbox is not read.
    held: Option<Call>,
    inbox: mpsc::Receiver<Call>,
    closing: watch::Receiver<bool>,
    seen: watch::Sender<Arc<Snapshot>>,
}

/// What a driver reacts to.
enum Event {
    Happened(Outcome),
    Called(Call),
    Alarm,
    /// The daemon stops, or nobody can call any more: leave the sandbox as it is.
    Over,
}

/// How a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// The sandbox is no more.
    Forgotten,
    /// The daemon stops; the sandbox stays.
    Left,
}

impl Driver {
    pub fn new(
        shared: Arc<Shared>,
        (facts, state): (Facts, State),
        inbox: mpsc::Receiver<Call>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let (seen, _) = watch::channel(Arc::new(facts.snapshot(&state)));
        Self {
            shared,
            facts,
            state,
            stale: false,
            freed: None,
            panics: 0,
            life: None,
            work: None,
            news: None,
            asker: None,
            fault: None,
            held: None,
            inbox,
            closing,
            seen,
        }
    }

    pub fn id(&self) -> &SandboxId {
        &self.facts.id
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.seen.subscribe()
    }

    /// Starts to make the sandbox, whose record is written. `asker` hears of it when it runs or has failed.
    pub fn launch(&mut self, asker: oneshot::Sender<Answer>) {
        self.asker = Some(asker);
        self.work = Some(work::launch(Arc::clone(&self.shared.host), &self.facts));
    }

    /// Starts to fetch the image of a sandbox whose record is written. `asker` hears at once that it is Pending.
    pub fn fetch(&mut self, fetch: Fetch, asker: oneshot::Sender<Answer>) {
        self.begin_to_fetch(fetch);
        // A caller that went away finds it in the list.
        asker.send(Ok(self.facts.snapshot(&self.state).sandbox)).ok();
    }

    fn begin_to_fetch(&mut self, fetch: Fetch) {
        let (tell, news) = watch::channel(String::new());
        self.news = Some(news);
        self.work = Some(work::fetch(Arc::clone(&self.shared.host), &self.facts, fetch, tell));
    }

    async fn run(&mut self) -> Finish {
        loop {
            match self.next().await {
                Event::Happened(outcome) => self.happened(outcome),
                Event::Called(call) => self.take(call).await,
                Event::Alarm => {
                    if self.alarm() {
                        return Finish::Forgotten;
                    }
                }
                Event::Over => return Finish::Left,
            }
            self.serve_held().await;
        }
    }

    async fn next(&mut self) -> Event {
        let now = self.now();
        let nap = self.nap(now);
        let Self { work, news, life, inbox, closing, state, held, .. } = self;
        let idle = work.is_none();
        let may_leave = idle || matches!(state.work, Some(Work::Rest | Work::Fetch));
        // In this order, so that a sandbox under a storm of calls still sees its end and its hour. When the last handle
        // on the sandboxes is dropped, so is the sender of `closing`, and waiting for it ends as well.
        tokio::select! {
            biased;
            outcome = finished(work) => Event::Happened(outcome),
            outcome = ended(life), if state.watches_end() && idle => Event::Happened(outcome),
            outcome = heard(news), if !idle => Event::Happened(outcome),
            () = sleep(nap) => Event::Alarm,
            _ = closing.wait_for(|closing| *closing), if may_leave => Event::Over,
            Some(call) = inbox.recv(), if held.is_none() => Event::Called(call),
        }
    }

    /// How long until somebody has to look at the clock; `None` is never.
    fn nap(&self, now: Now) -> Option<Duration> {
        let alarm = self.state.alarm().map(|(deadline, _)| expiry::nap(deadline, now));
        let save = self.stale.then_some(SAVE_AGAIN);
        alarm.into_iter().chain(save).min()
    }

    /// Whatever the clock has to say now. True when the sandbox is no more.
    fn alarm(&mut self) -> bool {
        if self.stale {
            self.save_or_log();
        }
        match self.state.alarm() {
            Some((deadline, Request::Forget)) if expiry::is_due(deadline, self.now()) => self.forget(),
            Some((deadline, request)) if expiry::is_due(deadline, self.now()) => {
                self.happened(Outcome { request, launched: None });
                false
            }
            _ => false,
        }
    }

    fn now(&self) -> Now {
        Now::read(&*self.shared.host)
    }

    fn context(&self) -> Context<'_> {
        Context { now: self.now(), config: &self.shared.config, timeout: self.facts.spec.timeout }
    }
}

async fn finished(work: &mut Option<InFlight>) -> Outcome {
    match work {
        Some(running) => {
            let outcome = running.await;
            *work = None;
            outcome
        }
        None => std::future::pending().await,
    }
}

async fn heard(news: &mut Option<watch::Receiver<String>>) -> Outcome {
    if let Some(told) = news
        && told.changed().await.is_ok()
    {
        let text = told.borrow_and_update().clone();
        return Outcome { request: Request::Fetching(text), launched: None };
    }
    // Whoever told has ended.
    *news = None;
    std::future::pending().await
}

async fn ended(life: &mut Option<Box<dyn Life>>) -> Outcome {
    match life {
        Some(life) => Outcome { request: Request::Ended(life.ended().await), launched: None },
        None => std::future::pending().await,
    }
}

async fn sleep(nap: Option<Duration>) {
    match nap {
        Some(nap) => tokio::time::sleep(nap).await,
        None => std::future::pending().await,
    }
}
