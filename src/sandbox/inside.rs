//! The inside of a sandbox that runs.

use std::sync::Arc;

use tokio::sync::watch;

use super::driver::Shared;
use super::execution::{ExecError, FoundExecution, Order, Process, Started};
use super::registry::Sandboxes;
use super::snapshot::{Sandbox, Snapshot};
use super::{Denial, HostError};
use crate::model::{Phase, SandboxId};

/// A way into one sandbox, handed out while it is Running. What is asked of it later, when it is not any more, waits
/// (Paused) or fails (ended).
#[derive(Clone)]
pub struct Inside {
    pub(super) id: SandboxId,
    pub(super) shared: Arc<Shared>,
    seen: watch::Receiver<Arc<Snapshot>>,
}

impl Sandboxes {
    /// # Errors
    /// When there is no such sandbox, or it is not Running.
    pub fn inside(&self, id: &SandboxId) -> Result<Inside, Denial> {
        let not_found = || Denial::NotFound { id: id.to_string() };
        let (shared, seen) = self.reach(id).ok_or_else(not_found)?;
        let (phase, removed) = {
            let now = seen.borrow();
            (now.sandbox.status.phase, now.removed)
        };
        match phase {
            _ if removed => Err(not_found()),
            Phase::Running => Ok(Inside { id: id.clone(), shared, seen }),
            phase => Err(Denial::NotRunning { phase }),
        }
    }
}

impl Inside {
    #[must_use]
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// The sandbox as it is now.
    #[must_use]
    pub fn sandbox(&self) -> Sandbox {
        self.seen.borrow().sandbox.clone()
    }

    /// What the entrypoint was given but for its arguments: environment, user, working directory.
    ///
    /// # Errors
    /// When the image's configuration cannot be read.
    pub async fn defaults(&self) -> Result<Process, HostError> {
        let spec = self.seen.borrow().sandbox.spec.clone();
        self.shared.host.process_defaults(&self.id, &spec).await
    }

    /// How many processes of the sandbox were killed for want of memory, where that is counted.
    pub async fn oom_kills(&self) -> Option<u64> {
        self.shared.host.usage(&self.id).await.ok()?.memory.oom_kills
    }

    /// Starts a process; returns once its program was executed.
    ///
    /// # Errors
    /// Why nothing was started.
    pub async fn start(&self, order: Order) -> Result<Started, ExecError> {
        self.shared.host.exec(&self.id, order).await
    }

    /// Tells how far somebody has seen the entrypoint's output, who must not miss anything of it: it waits for them, unless
    /// nothing is told for half a minute.
    pub fn seen_output(&self, offset: u64) {
        self.shared.host.seen_output(&self.id, offset);
    }

    /// The executions that were started and not forgotten, by an earlier daemon too.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub async fn executions(&self) -> Result<Vec<FoundExecution>, ExecError> {
        self.shared.host.executions(&self.id).await
    }

    /// Resolves when the sandbox is being removed or has ended, with its state then. A pause does not count, and neither does
    /// the end of the daemon: the sandbox goes on then, and so must everything that is kept for it.
    pub async fn left(&self) -> Phase {
        let mut seen = self.seen.clone();
        let over = |seen: &Arc<Snapshot>| {
            seen.removed || matches!(seen.sandbox.status.phase, Phase::Stopping | Phase::Terminated | Phase::Failed)
        };
        let left = seen.wait_for(over).await.map(|seen| seen.sandbox.status.phase);
        match left {
            Ok(phase) => phase,
            Err(_) => std::future::pending().await,
        }
    }

    /// Resolves when the sandbox does not run any more, be it for a pause, with its state then.
    pub async fn interrupted(&self) -> Phase {
        let mut seen = self.seen.clone();
        let not_running = |seen: &Arc<Snapshot>| seen.removed || seen.sandbox.status.phase != Phase::Running;
        match seen.wait_for(not_running).await {
            Ok(seen) if seen.removed => Phase::Terminated,
            Ok(seen) => seen.sandbox.status.phase,
            Err(_) => Phase::Terminated,
        }
    }

    /// Whether it is over, without waiting.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let seen = self.seen.borrow();
        seen.removed || matches!(seen.sandbox.status.phase, Phase::Stopping | Phase::Terminated | Phase::Failed)
    }
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").field("id", &self.id).finish_non_exhaustive()
    }
}
