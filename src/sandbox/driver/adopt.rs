//! How a driver takes over a sandbox from its record: at the start of the daemon, and after a fault of its own.

use std::sync::Arc;

use super::work::Outcome;
use super::{Driver, finished};
use crate::model::Reason;
use crate::sandbox::adoption::{self, Plan};
use crate::sandbox::expiry;
use crate::sandbox::machine::{Request, Work};
use crate::sandbox::{Fetch, HostError, Launched};

/// What became of a recorded sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Fate {
    /// It lives, and is in the state that it was meant to be in.
    Adopted,
    /// It was recorded as living and could not be found.
    Lost,
    /// It lived before the host was restarted.
    Rebooted,
    /// It was being made when the daemon ended.
    Unmade,
    /// Its image is being fetched, anew.
    Fetching,
    /// Its time was up meanwhile.
    Expired,
    /// It had ended, or was on its way out.
    Kept,
}

impl Driver {
    /// Brings the sandbox into a truthful state. What is to be removed from the host was tried to be when this returns.
    pub async fn adopt(&mut self) -> Fate {
        let same_boot = self.facts.boot_id == self.shared.host.boot_id();
        if !same_boot {
            self.rebase();
        }
        let fate = match adoption::plan(&self.state, self.facts.fetching.is_some(), same_boot, self.now()) {
            Plan::Expire => self.conclude(Request::Expire, Fate::Expired),
            Plan::Reboot => self.conclude(Request::Rebooted, Fate::Rebooted),
            Plan::Unmake => self.conclude(Request::Unmade, Fate::Unmade),
            Plan::Fetch => self.fetch_again().await,
            Plan::Settle => self.conclude(Request::Settle, Fate::Kept),
            Plan::Adopt => self.reach().await,
        };
        self.work_off().await;
        fate
    }

    /// Boot times of another boot mean nothing: the wall clock has to do.
    fn rebase(&mut self) {
        let now = self.now();
        self.shared.host.boot_id().clone_into(&mut self.facts.boot_id);
        if let Some(expiry) = &mut self.state.expiry {
            expiry.deadline = expiry::rebase(expiry.deadline, now);
        }
        self.state.forget = self.state.forget.map(|deadline| expiry::rebase(deadline, now));
        self.save_or_log();
    }

    fn conclude(&mut self, request: Request, fate: Fate) -> Fate {
        self.happened(Outcome { request, launched: None });
        fate
    }

    /// What was prepared for it went with the daemon that did; its id and range are its own still.
    async fn fetch_again(&mut self) -> Fate {
        let host = Arc::clone(&self.shared.host);
        let (Some(base), Some(noted)) = (self.facts.base, &self.facts.fetching) else {
            return self.conclude(Request::Unmade, Fate::Unmade);
        };
        let fetch = Fetch::again(noted);
        if host.stop(&self.facts.id, base).await.is_err() {
            return self.conclude(Request::Unmade, Fate::Unmade);
        }
        self.conclude(Request::Refetch, Fate::Fetching);
        match fetch {
            Some(fetch) => self.begin_to_fetch(fetch),
            None => {
                let message = "the daemon was restarted while it pulled the image with the credentials of the request, which \
                               it keeps nowhere: create the sandbox again";
                let error = HostError { reason: Reason::ImagePullFailed, message: message.to_owned() };
                self.conclude(Request::FetchFailed(error), Fate::Unmade);
            }
        }
        Fate::Fetching
    }

    async fn reach(&mut self) -> Fate {
        let launched = match self.find().await {
            Ok(launched) => launched,
            Err(error) => return self.conclude(Request::Lost(error.message), Fate::Lost),
        };
        self.life = Some(launched.life);
        // Told by whoever it failed for; until another try it reaches nothing that it did not reach before.
        drop(self.put_policy_in_force().await);
        let frozen = self.shared.host.is_frozen(&self.facts.id).await.ok();
        self.conclude(Request::Found { frozen }, Fate::Adopted)
    }

    async fn find(&mut self) -> Result<Launched, HostError> {
        let (Some(base), Some(proof)) = (self.facts.base, &self.facts.proof) else {
            let message = "adopt the sandbox: its record has no proof of it".to_owned();
            return Err(HostError { reason: Reason::Lost, message });
        };
        Arc::clone(&self.shared.host).adopt(&self.facts.id, base, proof).await
    }

    /// Waits for the work in flight and what follows from it, but not for second attempts, nor for an image.
    async fn work_off(&mut self) {
        while self.work.is_some() && !matches!(self.state.work, Some(Work::Rest | Work::Fetch)) {
            let outcome = finished(&mut self.work).await;
            self.happened(outcome);
        }
    }
}
