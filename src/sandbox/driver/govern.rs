//! Changes of what a sandbox may reach.

use super::Driver;
use super::call::{Ask, Call, denial};
use super::change::reply;
use crate::model::{NetworkMode, PolicyChange, with_causes};
use crate::sandbox::Denial;
use crate::sandbox::machine::{self, Decision};

impl Driver {
    /// Serves a call, whatever it is about.
    pub(super) async fn take(&mut self, call: Call) {
        match call.ask.clone() {
            Ask::Policy(change) => self.govern(call, change).await,
            _ => self.serve(call),
        }
    }

    /// Records the policy, then has the host put it in force, which takes some milliseconds; two changes are in force in the order
    /// in which they are recorded.
    async fn govern(&mut self, call: Call, change: PolicyChange) {
        match machine::decide(&self.state, &call.ask.request(), self.context()) {
            Decision::Accept(..) => {}
            Decision::Wait => return self.held = Some(call),
            Decision::Deny(refusal) => return reply(call, Err(denial(refusal, &self.facts.id))),
            Decision::Ignore => return reply(call, Ok(self.facts.snapshot(&self.state).sandbox)),
        }
        let answer = self.change_policy(change).await;
        reply(call, answer.map(|()| self.facts.snapshot(&self.state).sandbox));
    }

    async fn change_policy(&mut self, change: PolicyChange) -> Result<(), Denial> {
        let config = &self.shared.config;
        match config.network(self.facts.spec.network) {
            NetworkMode::None => return Err(Denial::NoNetwork),
            NetworkMode::Host => return Err(Denial::HostNetwork),
            NetworkMode::Bridge if !config.network.has_bridge() => {
                return Err(Denial::NetworkAway(config.network.why.clone()));
            }
            NetworkMode::Bridge => {}
        }
        let mut facts = self.facts.clone();
        facts.spec.policy = change.apply(facts.spec.policy.as_ref()).map_err(Denial::PolicyTooLarge)?;
        self.write(&facts, &self.state).map_err(|error| Denial::Store(with_causes(&error)))?;
        self.facts = facts;
        self.publish();
        self.put_policy_in_force().await
    }

    /// Tells the host what is recorded.
    pub(super) async fn put_policy_in_force(&mut self) -> Result<(), Denial> {
        let set = self.shared.host.set_policy(&self.facts.id, self.facts.spec.policy.as_ref()).await;
        if let Err(error) = &set {
            tracing::error!(error = error.message, "the policy of a sandbox is recorded and could not be put in force");
        }
        Ok(set?)
    }
}
