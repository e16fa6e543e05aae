//! Who ended for want of memory: the kernel counts its kills for the sandbox as a whole.

use std::sync::Arc;

use tokio::sync::watch;

use super::Inner;
use crate::model::{Exit, OutOfMemory, SandboxId};
use crate::sandbox::execution::Ended;

/// Watches the count while a command runs.
pub struct MemoryWatch {
    inner: Arc<Inner>,
    sandbox: SandboxId,
    before: u64,
}

impl MemoryWatch {
    pub fn begin(inner: &Arc<Inner>, sandbox: &SandboxId) -> Self {
        let before = inner.cgroups.oom_kills(sandbox);
        Self { inner: Arc::clone(inner), sandbox: sandbox.clone(), before }
    }

    /// How the command ends, with what the kernel killed until then.
    pub fn attend(self, mut guest: watch::Receiver<Option<(Exit, i64)>>) -> watch::Receiver<Option<Ended>> {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let ended = guest.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
            // A PID 1 that is gone says nothing; then the end of this channel says it.
            let Some((exit, at_unix_nanos)) = ended else { return };
            sender.send_replace(Some(Ended { exit, at_unix_nanos, oom: self.since(exit) }));
        });
        receiver
    }

    fn since(&self, exit: Exit) -> Option<OutOfMemory> {
        if exit == Exit::Code(0) {
            return None;
        }
        let kills = self.inner.cgroups.oom_kills(&self.sandbox).saturating_sub(self.before);
        if kills == 0 || !self.inner.living().contains_key(&self.sandbox) {
            return None;
        }
        *self.inner.told_kills().entry(self.sandbox.clone()).or_default() += kills;
        Some(OutOfMemory { kills, limit: self.inner.cgroups.memory_limit(&self.sandbox) })
    }
}

/// Whether that is how the entrypoint ended: it was killed itself, or a process that no command has had to do with was.
pub fn of_entrypoint(inner: &Inner, id: &SandboxId, exit: Option<Exit>) -> Option<OutOfMemory> {
    let kills = inner.cgroups.oom_kills(id);
    let told = inner.told_kills().get(id).copied().unwrap_or(0);
    let others = match exit {
        Some(Exit::Code(0)) | None => 0,
        // By the signal of such a kill, or as a shell tells of it.
        Some(Exit::Signal(libc::SIGKILL) | Exit::Code(137)) => kills,
        Some(_) => kills.saturating_sub(told),
    };
    (others > 0).then(|| OutOfMemory { kills, limit: inner.cgroups.memory_limit(id) })
}
