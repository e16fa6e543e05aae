//! Starting processes in a sandbox, through its PID 1.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;

use super::memory::MemoryWatch;
use super::{Inner, failed, image_failed};
use crate::guest::{Begun, Guest, GuestError};
use crate::model::{ExecId, Reason, SandboxId, SandboxSpec, with_causes};
use crate::proto::{ExecPlan, FailureKind, Process, StepFailure};
use crate::runtime::plan::{self, ImageDefaults};
use crate::sandbox::execution::{ExecError, Execution, FoundExecution, Order, Reins, Started};
use crate::sandbox::host::HostError;

pub async fn start(inner: &Arc<Inner>, sandbox: &SandboxId, order: Order) -> Result<Started, ExecError> {
    let guest = inner.living().get(sandbox).cloned().ok_or(ExecError::Gone)?;
    if let Some(limit) = inner.cgroups.is_full(sandbox) {
        return Err(ExecError::NotExecutable(format!(
            "start a process: the sandbox has {limit}, and may have no more (EAGAIN)"
        )));
    }
    let memory = MemoryWatch::begin(inner, sandbox);
    let Order { id, job, fds, kept, terminal, label } = order;
    let (sources, targets): (Vec<OwnedFd>, Vec<i32>) = fds.into_iter().unzip();
    let plan = ExecPlan { label, job, targets, terminal };
    let Begun { terminal, ended } = guest.start(&id, &plan, &sources, &kept).await.map_err(guest_failed)?;
    Ok(Started { execution: Execution::new(id, memory.attend(ended), Arc::new(GuestReins(guest))), terminal })
}

pub async fn found(inner: &Arc<Inner>, sandbox: &SandboxId) -> Result<Vec<FoundExecution>, ExecError> {
    let guest = inner.living().get(sandbox).cloned().ok_or(ExecError::Gone)?;
    let states = guest.executions().await.map_err(guest_failed)?;
    let reins: Arc<dyn Reins> = Arc::new(GuestReins(Arc::clone(&guest)));
    let found = states.into_iter().filter_map(|state| {
        let ended = MemoryWatch::begin(inner, sandbox).attend(guest.watch(&state.id)?);
        Some(FoundExecution { label: state.label, execution: Execution::new(state.id, ended, Arc::clone(&reins)) })
    });
    Ok(found.collect())
}

/// What the image and the request give to every process of the sandbox.
pub fn defaults(inner: &Inner, id: &SandboxId, spec: &SandboxSpec) -> Result<Process, HostError> {
    // By what is held for it: the name may mean another image by now.
    let image = inner.images.held(id.as_str()).map_or_else(|| inner.images.look_up(&spec.image), Ok);
    let image = image.map_err(image_failed)?;
    let config = &image.config;
    let image = ImageDefaults { env: &config.env, user: &config.user, working_dir: &config.working_dir };
    let process = plan::start(id, spec, image, inner.config.settings).process;
    Ok(Process { argv: Vec::new(), ..process })
}

struct GuestReins(Arc<Guest>);

#[async_trait]
impl Reins for GuestReins {
    fn signal(&self, id: &ExecId, signal: i32) -> Result<(), ExecError> {
        self.0.signal_exec(id, signal).map_err(guest_failed)
    }

    fn release(&self, id: &ExecId) {
        drop(self.0.release(id));
    }

    fn release_last(&self, id: &ExecId) {
        drop(self.0.release_last(id));
    }

    fn forget(&self, id: &ExecId) {
        // A PID 1 that is gone has forgotten everything.
        drop(self.0.forget(id));
    }

    async fn kept(&self, id: &ExecId) -> Result<Vec<OwnedFd>, ExecError> {
        self.0.kept(id).await.map_err(guest_failed)
    }
}

fn guest_failed(error: GuestError) -> ExecError {
    match error {
        GuestError::Step(failure) => step_failed(failure),
        GuestError::Gone => ExecError::Gone,
        other => ExecError::Host(failed(Reason::StartFailed, &other).message),
    }
}

fn step_failed(failure: StepFailure) -> ExecError {
    match failure.kind {
        FailureKind::NotFound => ExecError::NotFound(failure.error),
        FailureKind::NotExecutable => ExecError::NotExecutable(failure.error),
        FailureKind::WorkingDirectory => ExecError::WorkingDirectory(failure.error),
        FailureKind::User => ExecError::User(failure.error),
        FailureKind::Internal => ExecError::Host(with_causes(&failure)),
    }
}
