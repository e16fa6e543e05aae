//! What a driver knows of its sandbox beside the machine's state, and the record of both.

use crate::model::{SandboxId, SandboxSpec};
use crate::sandbox::IdBase;
use crate::sandbox::expiry;
use crate::sandbox::machine::{State, Work};
use crate::sandbox::snapshot::{Sandbox, Snapshot};
use crate::store::{Fetching, Record};

/// Facts that no request decides about.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct Facts {
    pub id: SandboxId,
    pub spec: SandboxSpec,
    pub created_unix_micros: i64,
    pub base: Option<IdBase>,
    pub boot_id: String,
    pub proof: Option<String>,
    /// How its image is, or was, fetched.
    pub fetching: Option<Fetching>,
}

impl Facts {
    pub fn record(&self, state: &State) -> Record {
        Record {
            id: self.id.clone(),
            spec: self.spec.clone(),
            status: state.status.clone(),
            created_unix_micros: self.created_unix_micros,
            id_base: self.base,
            boot_id: self.boot_id.clone(),
            proof: self.proof.clone(),
            notes: state.notes.clone(),
            expiry: state.expiry,
            removed: state.removed,
            cleaned: state.cleaned,
            forget: state.forget,
            history: state.history.clone(),
            fetching: self.fetching.clone().filter(|_| state.work == Some(Work::Fetch)),
        }
    }

    pub fn snapshot(&self, state: &State) -> Snapshot {
        let sandbox = Sandbox {
            id: self.id.clone(),
            spec: self.spec.clone(),
            status: state.status.clone(),
            created_at: expiry::instant(self.created_unix_micros),
            expires_at: state.expiry.map(expiry::shown),
        };
        Snapshot {
            sandbox,
            removed: state.removed,
            history: state.history.clone(),
            base: self.base,
            proof: self.proof.clone(),
        }
    }
}

/// A record, taken apart. What was in flight when it was written is not in flight now.
pub(in crate::sandbox) fn take_apart(record: Record) -> (Facts, State) {
    let facts = Facts {
        id: record.id,
        spec: record.spec,
        created_unix_micros: record.created_unix_micros,
        base: record.id_base,
        boot_id: record.boot_id,
        proof: record.proof,
        fetching: record.fetching,
    };
    let state = State {
        status: record.status,
        expiry: record.expiry,
        removed: record.removed,
        cleaned: record.cleaned,
        forget: record.forget,
        notes: record.notes,
        work: None,
        attempts: 0,
        history: record.history,
    };
    (facts, state)
}
