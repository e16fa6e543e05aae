//! The start of a daemon: every recorded sandbox is brought into a truthful state before anybody is served.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};
use tracing::Instrument;

use super::driver::{Fate, take_apart};
use super::expiry::{self, Now};
use super::machine::State;
use super::registry::Inner;
use crate::model::{Phase, SandboxId};
use crate::store::{Quarantined, Record, StoreError};

/// How many sandboxes are reached for at once: enough to hide waiting, few enough not to run out of descriptors.
const AT_ONCE: usize = 64;

/// What a daemon found when it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartReport {
    pub adopted: usize,
    pub lost: usize,
    pub rebooted: usize,
    pub unmade: usize,
    /// Their images are being fetched again.
    pub fetching: usize,
    pub expired: usize,
    pub kept: usize,
    /// Records that could not be believed; what they described was swept.
    pub quarantined: Vec<Quarantined>,
    /// What was on the host without a record, and is no more.
    pub swept: Vec<String>,
}

#[derive(Debug, Error)]
pub enum StartError {
    #[error("load the records of the sandboxes")]
    Store(#[from] StoreError),
}

/// What to do about a recorded sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Adopt,
    Expire,
    /// It belongs to an earlier boot of the host.
    Reboot,
    /// It was being made, and nobody was told of it.
    Unmake,
    /// Its image was being fetched: go on with that.
    Fetch,
    /// It has ended: finish cleaning up.
    Settle,
}

pub(super) fn plan(state: &State, fetches: bool, same_boot: bool, now: Now) -> Plan {
    let due = state.expiry.is_some_and(|expiry| !expiry.provisional && expiry::is_due(expiry.deadline, now));
    match state.phase() {
        _ if state.removed => Plan::Settle,
        _ if due => Plan::Expire,
        Phase::Terminated | Phase::Failed | Phase::Stopping => Plan::Settle,
        Phase::Pending if fetches => Plan::Fetch,
        _ if !same_boot => Plan::Reboot,
        Phase::Pending => Plan::Unmake,
        Phase::Running | Phase::Pausing | Phase::Paused | Phase::Resuming => Plan::Adopt,
    }
}

pub(super) async fn adopt_all(inner: &Arc<Inner>) -> Result<StartReport, StartError> {
    let loaded = inner.shared.store.load_all()?;
    for base in loaded.records.iter().filter_map(|record| record.id_base) {
        inner.shared.host.claim(base);
    }
    let known: Vec<SandboxId> = loaded.records.iter().map(|record| record.id.clone()).collect();
    let mut report = StartReport { quarantined: loaded.quarantined, ..StartReport::default() };
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let fates: Vec<_> = loaded.records.into_iter().map(|record| begin(inner, record, &gate)).collect();
    for fate in fates {
        // A driver that died before it could tell keeps its sandbox: see `driver::guard`.
        report.count(fate.await.ok().flatten().unwrap_or(Fate::Kept));
    }
    report.swept = inner.shared.host.sweep(&known).await;
    Ok(report)
}

fn begin(inner: &Arc<Inner>, record: Record, gate: &Arc<Semaphore>) -> oneshot::Receiver<Option<Fate>> {
    let (told, fate) = oneshot::channel();
    let span = tracing::info_span!("sandbox", sandbox.id = %record.id);
    let mut driver = inner.driver(take_apart(record));
    let (weak, gate) = (Arc::downgrade(inner), Arc::clone(gate));
    let task = async move {
        // The gate is never closed; without a permit it would only be more at once.
        let permit = gate.acquire().await.ok();
        let fate = driver.adopt_guarded().await;
        drop(permit);
        told.send(fate).ok();
        if fate.is_none() {
            driver.recover().await;
        }
        Inner::run(weak, driver).await;
    };
    tokio::spawn(task.instrument(span));
    fate
}

impl StartReport {
    fn count(&mut self, fate: Fate) {
        let counter = match fate {
            Fate::Adopted => &mut self.adopted,
            Fate::Lost => &mut self.lost,
            Fate::Rebooted => &mut self.rebooted,
            Fate::Unmade => &mut self.unmade,
            Fate::Fetching => &mut self.fetching,
            Fate::Expired => &mut self.expired,
            Fate::Kept => &mut self.kept,
        };
        *counter += 1;
    }
}
