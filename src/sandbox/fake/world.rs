//! What stays on the pretended host when a daemon goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::host::FakeLife;
use super::{Behaviour, Step, lock};
use crate::model::{Exit, NetworkPolicy, Reason, SandboxId};
use crate::sandbox::{End, HostError, IdBase, Launched};

pub(super) const LOGS: &str = "logs";
const PROCESSES: &str = "processes";
/// What a sandbox is made of, in the order in which it is made.
pub(super) const PARTS: [&str; 5] = [LOGS, "root", "network", "cgroup", PROCESSES];

#[derive(Debug)]
pub(super) struct World {
    boots: u32,
    proofs: u32,
    things: BTreeMap<SandboxId, Thing>,
    busy: BTreeMap<SandboxId, Step>,
    pub last_boot_nanos: u64,
    pub slept_nanos: u64,
    pub wall_minus_boot: i64,
    pub missing_images: BTreeSet<String>,
    /// Whether the disk has no room for another sandbox.
    pub full: bool,
    pub images_elsewhere: BTreeSet<String>,
    /// The daemon said that it ends.
    pub is_left: bool,
    pub policies: BTreeMap<SandboxId, Option<NetworkPolicy>>,
    pub violations: Vec<String>,
}

/// A sandbox, or what is left of one.
#[derive(Debug)]
struct Thing {
    base: IdBase,
    parts: BTreeSet<&'static str>,
    proof: Option<String>,
    frozen: bool,
    signals: Vec<i32>,
    end: watch::Sender<Option<End>>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            boots: 1,
            proofs: 0,
            things: BTreeMap::new(),
            busy: BTreeMap::new(),
            last_boot_nanos: 1_000_000_000,
            slept_nanos: 0,
            // In September of 2026.
            wall_minus_boot: 1_790_000_000_000_000_000,
            missing_images: BTreeSet::new(),
            full: false,
            images_elsewhere: BTreeSet::new(),
            is_left: false,
            policies: BTreeMap::new(),
            violations: Vec::new(),
        }
    }
}

impl World {
    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    /// What lives in memory goes; the wall clock goes on.
    pub fn reboot(&mut self) {
        let ran = self.last_boot_nanos.saturating_add(self.slept_nanos);
        self.wall_minus_boot = self.wall_minus_boot.saturating_add_unsigned(ran).saturating_sub(1_000_000_000);
        (self.last_boot_nanos, self.slept_nanos) = (1_000_000_000, 0);
        self.boots += 1;
        for thing in self.things.values_mut() {
            thing.parts.retain(|part| *part == LOGS || *part == "root");
            thing.proof = None;
        }
    }

    pub fn add(&mut self, id: &SandboxId, base: IdBase, part: &'static str) {
        let other = self.things.iter().find(|(other, thing)| *other != id && thing.base == base && thing.uses_range());
        if let Some((other, _)) = other {
            self.violations.push(format!("{id} was made on range {base} of {other}"));
        }
        let fresh = || Thing {
            base,
            parts: BTreeSet::new(),
            proof: None,
            frozen: false,
            signals: Vec::new(),
            end: watch::Sender::new(None),
        };
        if !self.things.entry(id.clone()).or_insert_with(fresh).parts.insert(part) {
            self.violations.push(format!("{part} of {id} was made twice"));
        }
    }

    pub fn remove(&mut self, id: &SandboxId, base: IdBase, part: &str) {
        let Some(thing) = self.things.get_mut(id) else { return };
        if thing.base != base {
            self.violations.push(format!("{id} was removed from range {base}, it has {}", thing.base));
        }
        thing.parts.remove(part);
        if thing.parts.is_empty() {
            self.things.remove(id);
        }
    }

    pub fn launched(&mut self, id: &SandboxId) -> Result<Launched, HostError> {
        self.proofs += 1;
        let proof = format!("proof-{}", self.proofs);
        let thing = self.living_thing(id)?;
        thing.proof = Some(proof.clone());
        Ok(thing.as_launched(proof))
    }

    pub fn adopt(&mut self, id: &SandboxId, base: IdBase, proof: &str) -> Result<Launched, HostError> {
        let thing = self.living_thing(id)?;
        if thing.base == base && thing.proof.as_deref() == Some(proof) {
            return Ok(thing.as_launched(proof.to_owned()));
        }
        Err(HostError { reason: Reason::Lost, message: format!("adopt {id}: another sandbox than the recorded one") })
    }

    pub fn end(&mut self, id: &SandboxId, end: End) {
        if let Ok(thing) = self.living_thing(id) {
            thing.end.send_if_modified(|ended| {
                let first = ended.is_none();
                ended.get_or_insert(end);
                first
            });
        }
    }

    pub fn signal(&mut self, id: &SandboxId, signal: i32) -> Result<(), HostError> {
        self.living_thing(id)?.signals.push(signal);
        if matches!(signal, 9 | 15) {
            self.end(id, End { exit: Exit::Signal(signal), oom: None, lost: false });
        }
        Ok(())
    }

    pub fn set_frozen(&mut self, id: &SandboxId, frozen: bool) -> Result<(), HostError> {
        self.living_thing(id)?.frozen = frozen;
        Ok(())
    }

    pub fn is_frozen(&mut self, id: &SandboxId) -> Result<bool, HostError> {
        self.living_thing(id).map(|thing| thing.frozen)
    }

    pub fn signals(&self, id: &SandboxId) -> Vec<i32> {
        self.things.get(id).map(|thing| thing.signals.clone()).unwrap_or_default()
    }

    pub fn sweep(&mut self, known: &[SandboxId]) -> Vec<String> {
        let unknown: Vec<SandboxId> = self.things.keys().filter(|id| !known.contains(id)).cloned().collect();
        for id in &unknown {
            self.things.remove(id);
        }
        unknown.iter().map(ToString::to_string).collect()
    }

    pub fn parts(&self) -> Vec<String> {
        let of = |(id, thing): (&SandboxId, &Thing)| -> Vec<String> {
            thing.parts.iter().map(|part| format!("{id} {part}")).collect()
        };
        self.things.iter().flat_map(of).collect()
    }

    pub fn living(&self) -> Vec<SandboxId> {
        let lives = |(_, thing): &(&SandboxId, &Thing)| thing.parts.contains(PROCESSES);
        self.things.iter().filter(lives).map(|(id, _)| id.clone()).collect()
    }

    pub fn check_unused(&mut self, base: IdBase) {
        let user = self.things.iter().find(|(_, thing)| thing.base == base && thing.uses_range());
        if let Some((id, _)) = user {
            self.violations.push(format!("range {base} was released and {id} uses it"));
        }
    }

    fn living_thing(&mut self, id: &SandboxId) -> Result<&mut Thing, HostError> {
        let thing = self.things.get_mut(id).filter(|thing| thing.parts.contains(PROCESSES));
        thing.ok_or_else(|| HostError { reason: Reason::Lost, message: format!("reach {id}: it has no processes") })
    }
}

impl Thing {
    fn uses_range(&self) -> bool {
        self.parts.iter().any(|part| *part != LOGS)
    }

    fn as_launched(&self, proof: String) -> Launched {
        Launched { proof, notes: Vec::new(), life: Box::new(FakeLife(self.end.subscribe())) }
    }
}

/// A call in progress on a sandbox. Two at once on the same one is a violation.
pub(super) struct Turn {
    world: Arc<Mutex<World>>,
    id: SandboxId,
    pub behaviour: Behaviour,
}

impl Turn {
    pub fn take(world: &Arc<Mutex<World>>, id: &SandboxId, step: Step, behaviour: Behaviour) -> Self {
        let mut known = lock(world);
        if let Some(other) = known.busy.insert(id.clone(), step) {
            known.violations.push(format!("{step:?} of {id} during {other:?}"));
        }
        Self { world: Arc::clone(world), id: id.clone(), behaviour }
    }

    pub fn verdict(&self) -> Result<(), HostError> {
        self.behaviour.fail.clone().map_or(Ok(()), Err)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.world).busy.remove(&self.id);
    }
}
