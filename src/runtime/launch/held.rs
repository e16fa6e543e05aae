//! What the launcher keeps of each sandbox.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::Pid;

use crate::model::SandboxId;
use crate::proto::{LIST_PAGE, LauncherReply};

#[derive(Debug)]
pub struct Sandbox {
    pub pid: Pid,
    pub pidfd: OwnedFd,
    pub control: OwnedFd,
}

#[derive(Debug, Default)]
pub struct Held(BTreeMap<SandboxId, Sandbox>);

impl Held {
    pub fn keep(&mut self, id: SandboxId, sandbox: Sandbox) {
        self.0.insert(id, sandbox);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn holds(&self, id: &SandboxId) -> bool {
        self.0.contains_key(id)
    }

    /// The answer to whoever asks for this sandbox, with the descriptors that belong to it.
    pub fn hand_out(&self, id: &SandboxId) -> (LauncherReply, Vec<BorrowedFd<'_>>) {
        match self.0.get(id) {
            Some(Sandbox { pid, pidfd, control }) => {
                (LauncherReply::Holding { pid: pid.as_raw() }, vec![pidfd.as_fd(), control.as_fd()])
            }
            None => (LauncherReply::Unknown, Vec::new()),
        }
    }

    pub fn forget(&mut self, id: &SandboxId) {
        self.0.remove(id);
    }

    pub fn list(&self, after: Option<&SandboxId>) -> LauncherReply {
        let later = self.0.keys().filter(|id| after.is_none_or(|after| *id > after));
        LauncherReply::Ids(later.take(LIST_PAGE).cloned().collect())
    }
}
