//! How the pretended host behaves: as a test says.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{Reason, SandboxId, Usage};
use crate::sandbox::HostError;

/// A call on the host that a test can delay or fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Fetch,
    Launch,
    Adopt,
    SetPolicy,
    Freeze,
    Thaw,
    IsFrozen,
    Signal,
    Stop,
    Destroy,
}

impl Step {
    pub const ALL: [Self; 10] = [
        Self::Fetch,
        Self::Launch,
        Self::Adopt,
        Self::SetPolicy,
        Self::Freeze,
        Self::Thaw,
        Self::IsFrozen,
        Self::Signal,
        Self::Stop,
        Self::Destroy,
    ];
}

/// What one call does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    pub delay: Duration,
    pub fail: Option<HostError>,
    pub panic: bool,
}

impl Behaviour {
    /// Fails in the words of the step.
    #[must_use]
    pub fn failing(step: Step) -> Self {
        let reason = match step {
            Step::Freeze => Reason::PauseFailed,
            Step::Thaw => Reason::ResumeFailed,
            Step::Fetch => Reason::ImagePullFailed,
            Step::Adopt | Step::IsFrozen => Reason::Lost,
            Step::Launch | Step::SetPolicy | Step::Signal | Step::Stop | Step::Destroy => Reason::StartFailed,
        };
        let message = format!("{step:?}: the script says EIO");
        Self { fail: Some(HostError { reason, message }), ..Self::default() }
    }
}

type Scripted = Box<dyn FnMut(Step, &SandboxId) -> Behaviour + Send>;

#[derive(Default)]
pub(super) struct Script {
    delays: BTreeMap<Step, Duration>,
    failures: BTreeMap<Step, usize>,
    scripted: Option<Scripted>,
    usages: BTreeMap<SandboxId, Usage>,
}

impl Script {
    pub fn delay(&mut self, step: Step, delay: Duration) {
        self.delays.insert(step, delay);
    }

    pub fn fail(&mut self, step: Step, times: usize) {
        self.failures.insert(step, times);
    }

    pub fn replace(&mut self, scripted: Scripted) {
        self.scripted = Some(scripted);
    }

    pub fn uses(&mut self, id: &SandboxId, usage: Usage) {
        self.usages.insert(id.clone(), usage);
    }

    pub fn usage(&self, id: &SandboxId) -> Usage {
        self.usages.get(id).cloned().unwrap_or_default()
    }

    pub fn next(&mut self, step: Step, id: &SandboxId) -> Behaviour {
        if let Some(scripted) = &mut self.scripted {
            return scripted(step, id);
        }
        let delay = self.delays.get(&step).copied().unwrap_or_default();
        let left = self.failures.entry(step).or_default();
        if *left == 0 {
            return Behaviour { delay, ..Behaviour::default() };
        }
        *left -= 1;
        Behaviour { delay, ..Behaviour::failing(step) }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("delays", &self.delays).field("failures", &self.failures).finish_non_exhaustive()
    }
}
