//! How a driver changes its sandbox: decide, record, act, publish, answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::call::{Answer, Ask, Call, denial};
use super::work::{self, Outcome};
use super::{Driver, Facts};
use crate::model::{Reason, with_causes};
use crate::sandbox::machine::{self, Decision, Effect, Request, State};
use crate::sandbox::{Denial, HostError, expiry};
use crate::store::StoreError;

impl Driver {
    /// Something happened on the host or on the clock. It is so whether or not it can be recorded.
    pub(super) fn happened(&mut self, outcome: Outcome) {
        let Outcome { request, launched } = outcome;
        if let Request::FreezeFailed(error) | Request::ThawFailed(error) = &request {
            // The first fault is the one that the caller hears of; the thaw after a failed freeze only cleans up.
            self.fault.get_or_insert_with(|| error.clone());
        }
        let Decision::Accept(next, effect) = machine::decide(&self.state, &request, self.context()) else {
            return;
        };
        if let Some(launched) = launched {
            self.facts.proof = Some(launched.proof);
            self.life = Some(launched.life);
        }
        if matches!(request, Request::Fetching(_)) {
            // It passes, and is not worth a record.
            self.become_state(*next);
            return self.publish();
        }
        if matches!(request, Request::Destroyed) {
            self.freed = self.facts.base.take();
        }
        self.become_state(*next);
        if matches!(request, Request::Launched { .. }) && !self.state.removed {
            return self.first_running();
        }
        self.save_or_log();
        self.settle(effect);
    }

    /// A sandbox is not handed out before its record says that it runs: a daemon that finds it Pending ends it.
    fn first_running(&mut self) {
        match self.save() {
            Ok(()) => self.settle(None),
            Err(error) => {
                let message = format!("the sandbox was made, but could not be recorded: {}", with_causes(&error));
                self.state.work = Some(machine::Work::Launch);
                let request = Request::LaunchFailed(HostError { reason: Reason::StartFailed, message });
                self.happened(Outcome { request, launched: None });
            }
        }
    }

    /// Decides a call, and answers it unless it has to wait for the host.
    pub(super) fn serve(&mut self, call: Call) {
        match machine::decide(&self.state, &call.ask.request(), self.context()) {
            Decision::Wait => self.held = Some(call),
            Decision::Deny(refusal) => reply(call, Err(denial(refusal, &self.facts.id))),
            Decision::Ignore => reply(call, Ok(self.facts.snapshot(&self.state).sandbox)),
            Decision::Accept(_, Some(Effect::Signal(signal))) => self.signal(call, signal),
            Decision::Accept(next, effect) => self.accept(call, *next, effect),
        }
    }

    pub(super) async fn serve_held(&mut self) {
        if let Some(call) = self.held.take() {
            self.take(call).await;
        }
    }

    /// Writes the record of what will be, then begins with it.
    fn accept(&mut self, call: Call, next: State, effect: Option<Effect>) {
        let mut facts = self.facts.clone();
        if let Ask::Patch(changes) = &call.ask {
            patch(&mut facts.spec.metadata, changes);
        }
        if let Err(error) = self.write(&facts, &next) {
            // A full disk must not keep anybody from deleting: that is what makes room.
            if !matches!(call.ask, Ask::Delete) {
                return reply(call, Err(Denial::Store(with_causes(&error))));
            }
            self.is_stale(&error);
        }
        self.facts = facts;
        self.become_state(next);
        // Not whenever it is in transition: who labels or renews a sandbox that is being made waits for nothing, and must
        // not take the place of whoever waits for it to be made.
        let begins_transition = matches!(effect, Some(Effect::Freeze | Effect::Thaw));
        self.settle(effect);
        if begins_transition {
            (self.asker, self.fault) = (Some(call.reply), None);
        } else {
            reply(call, Ok(self.facts.snapshot(&self.state).sandbox));
        }
    }

    /// Beside the driver: what PID 1 does with a signal is nothing that its sandbox's state should wait for.
    fn signal(&self, call: Call, signal: i32) {
        let (host, id) = (Arc::clone(&self.shared.host), self.facts.id.clone());
        let sandbox = self.facts.snapshot(&self.state).sandbox;
        tokio::spawn(async move {
            let sent = host.signal(&id, signal).await;
            reply(call, sent.map(|()| sandbox).map_err(Denial::Host));
        });
    }

    fn become_state(&mut self, next: State) {
        if next.phase() != self.state.phase() {
            let (reason, message) = (next.status.reason.as_str(), &next.status.message);
            tracing::info!(from = %self.state.phase(), to = %next.phase(), reason, status = message, "the sandbox changed");
        }
        self.state = next;
        if !self.state.watches_end() && !self.state.in_transition() {
            self.life = None;
        }
    }

    /// Publishes, answers who waited for it, and begins with what comes next.
    fn settle(&mut self, effect: Option<Effect>) {
        self.publish();
        self.answer();
        if let Some(effect) = effect {
            self.log_trouble(&effect);
            self.work = work::start(&effect, Arc::clone(&self.shared.host), &self.facts);
        }
    }

    pub(super) fn publish(&self) {
        self.seen.send_replace(Arc::new(self.facts.snapshot(&self.state)));
    }

    fn answer(&mut self) {
        if self.state.in_transition() {
            return;
        }
        let answer = match self.fault.take() {
            Some(error) => Err(Denial::Host(error)),
            None => Ok(self.facts.snapshot(&self.state).sandbox),
        };
        if let Some(asker) = self.asker.take() {
            // A caller that went away does not hear it; the change stays.
            asker.send(answer).ok();
        }
    }

    fn log_trouble(&self, effect: &Effect) {
        if let Effect::Rest(time) = effect {
            let (attempts, message) = (self.state.attempts, &self.state.status.message);
            tracing::warn!(attempts, again_in = ?time, status = message, "failed to clean up after the sandbox");
        }
    }

    /// Deletes the record. True when the sandbox is no more.
    pub(super) fn forget(&mut self) -> bool {
        match self.shared.store.delete(&self.facts.id) {
            Ok(()) => true,
            Err(error) => {
                self.is_stale(&error);
                self.state.forget = Some(expiry::after(self.now(), super::SAVE_AGAIN));
                false
            }
        }
    }

    pub(super) fn save_or_log(&mut self) {
        if let Err(error) = self.save() {
            self.is_stale(&error);
        }
    }

    fn save(&mut self) -> Result<(), StoreError> {
        self.write(&self.facts, &self.state)?;
        self.stale = false;
        if let Some(base) = self.freed.take() {
            self.shared.host.release(base);
        }
        Ok(())
    }

    /// Called on the runtime's own threads: a commit takes 30 to 60 us and never waits for the disk, and handing it to
    /// the blocking pool and back costs as much again, with a long tail. It happens twice for a create, which is to
    /// take milliseconds in all.
    pub(super) fn write(&self, facts: &Facts, state: &State) -> Result<(), StoreError> {
        self.shared.store.update(&facts.record(state))
    }

    fn is_stale(&mut self, error: &StoreError) {
        self.stale = true;
        tracing::error!(error = with_causes(error), again_in = ?super::SAVE_AGAIN, "failed to write the record of the sandbox");
    }
}

/// Lays a patch over labels.
fn patch(metadata: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(metadata.insert(key.clone(), value.clone())),
            None => drop(metadata.remove(key)),
        }
    }
}

pub(super) fn reply(call: Call, answer: Answer) {
    // A caller that went away does not hear the answer.
    call.reply.send(answer).ok();
}
