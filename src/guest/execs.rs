//! The executions that PID 1 was asked for, as the daemon knows them.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::{Guest, GuestError, descriptor, within};
use crate::model::{ExecId, Exit};
use crate::proto::{self, Command, ExecPlan, ExecState, Report};
use crate::sys;

/// How long PID 1 may take to start a process, or to answer a question.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a process ended, and when, in nanoseconds of the Unix epoch.
pub type Ended = (Exit, i64);

#[derive(Debug, Default)]
pub(super) struct Execs {
    known: Mutex<HashMap<ExecId, Entry>>,
    /// Who waits for the next page of the list.
    page: Mutex<Option<oneshot::Sender<Vec<ExecState>>>>,
    /// One list at a time.
    listing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Entry {
    begun: Option<oneshot::Sender<Result<Option<OwnedFd>, GuestError>>>,
    kept: Option<oneshot::Sender<Vec<OwnedFd>>>,
    ended: watch::Sender<Option<Ended>>,
}

impl Entry {
    fn new(ended: Option<Ended>) -> Self {
        Self { begun: None, kept: None, ended: watch::Sender::new(ended) }
    }
}

impl Execs {
    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<ExecId, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// PID 1 is gone: everything that was waited for has ended.
    pub fn gone(&self, at_unix_nanos: i64) {
        for (_, entry) in self.known().drain() {
            entry.ended.send_if_modified(|ended| {
                let lives = ended.is_none();
                ended.get_or_insert((Exit::Unknown, at_unix_nanos));
                lives
            });
        }
        drop(self.page.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Begun {
    pub terminal: Option<OwnedFd>,
    pub ended: watch::Receiver<Option<Ended>>,
}

impl Guest {
    /// Starts a process: returns once its program was executed. `sources` go to the plan's targets, `kept` stays with
    /// PID 1.
    ///
    /// # Errors
    /// The step that failed, or that PID 1 could not be reached.
    pub async fn start(
        &self,
        id: &ExecId,
        plan: &ExecPlan,
        sources: &[OwnedFd],
        kept: &[OwnedFd],
    ) -> Result<Begun, GuestError> {
        let (begun, answer) = oneshot::channel();
        let entry = Entry { begun: Some(begun), ..Entry::new(None) };
        let ended = entry.ended.subscribe();
        self.execs.known().insert(id.clone(), entry);
        let plan = sys::memfd(c"exec-plan", &proto::encode(plan)).map_err(GuestError::from);
        let sent = plan.and_then(|plan| {
            let fds: Vec<_> = [&plan].into_iter().chain(sources).chain(kept).map(AsFd::as_fd).collect();
            self.command_with(&Command::Exec { id: id.clone() }, &fds)
        });
        if let Err(error) = sent {
            self.execs.known().remove(id);
            return Err(error);
        }
        let answered = within(DEADLINE, async { answer.await.unwrap_or(Err(GuestError::Gone)) }).await;
        Ok(Begun { terminal: answered?, ended })
    }

    /// All executions that PID 1 knows, in order. Their ends are heard of from now on.
    ///
    /// # Errors
    /// When PID 1 is gone, or does not answer.
    pub async fn executions(&self) -> Result<Vec<ExecState>, GuestError> {
        let _one = self.execs.listing.lock().await;
        let mut all: Vec<ExecState> = Vec::new();
        loop {
            let (page, answer) = oneshot::channel();
            *self.execs.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
            self.command(&Command::Execs { after: all.last().map(|exec| exec.id.clone()) })?;
            let page = within(DEADLINE, async { answer.await.map_err(|_| GuestError::Gone) }).await?;
            // Ids grow from page to page, or it is a trick to keep the daemon busy.
            let follows = |exec: &ExecState| all.last().is_none_or(|last| exec.id > last.id);
            if page.is_empty() || !page.iter().all(follows) {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// What PID 1 keeps for an execution: as it was given, then the master of the terminal.
    ///
    /// # Errors
    /// When PID 1 is gone, or does not answer.
    pub async fn kept(&self, id: &ExecId) -> Result<Vec<OwnedFd>, GuestError> {
        let (kept, answer) = oneshot::channel();
        match self.execs.known().get_mut(id) {
            Some(entry) => entry.kept = Some(kept),
            None => return Err(GuestError::Gone),
        }
        self.command(&Command::HandOut { id: id.clone() })?;
        within(DEADLINE, async { answer.await.map_err(|_| GuestError::Gone) }).await
    }

    /// The end of an execution that is known.
    pub fn watch(&self, id: &ExecId) -> Option<watch::Receiver<Option<Ended>>> {
        self.execs.known().get(id).map(|entry| entry.ended.subscribe())
    }

    /// Sends a signal to an execution's process group.
    pub fn signal_exec(&self, id: &ExecId, signal: i32) -> Result<(), GuestError> {
        self.command(&Command::SignalExec { id: id.clone(), signal })
    }

    /// Has PID 1 close what it keeps for an execution.
    pub fn release(&self, id: &ExecId) -> Result<(), GuestError> {
        self.command(&Command::Release { id: id.clone() })
    }

    /// Has it close the last of what was given to keep.
    pub fn release_last(&self, id: &ExecId) -> Result<(), GuestError> {
        self.command(&Command::ReleaseLast { id: id.clone() })
    }

    /// Has it close all of it; its end is not heard of any more.
    pub fn forget(&self, id: &ExecId) -> Result<(), GuestError> {
        self.execs.known().remove(id);
        self.command(&Command::Forget { id: id.clone() })
    }

    /// Listens to PID 1 from now on, until it is gone. To be called once.
    pub fn listen(self: &Arc<Self>) {
        let guest = Arc::clone(self);
        tokio::spawn(async move {
            let exit = guest.hear_all().await;
            guest.execs.gone(sys::unix_nanos());
            guest.exit.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert(exit);
                first
            });
        });
    }

    /// Resolves when nothing can be heard any more, with how the entrypoint ended if that was never said.
    async fn hear_all(&self) -> Option<Exit> {
        loop {
            let Ok((report, fds)) = self.report().await else { return None };
            match report {
                Report::Exited(exit) => drop(self.exit.send_replace(Some(Some(exit)))),
                Report::Hello { nonce } if self.expected_nonce.get().is_some_and(|expected| *expected != nonce) => {
                    return None;
                }
                Report::Ready | Report::Hello { .. } => {}
                Report::Failed(_) => return None,
                Report::Started { id } => {
                    let terminal = fds.into_iter().next();
                    self.begun(&id, descriptor::check_terminal(terminal));
                }
                Report::NotStarted { id, failure } => {
                    self.begun(&id, Err(failure.into()));
                    self.execs.known().remove(&id);
                }
                Report::Ended { id, exit, at_unix_nanos } => {
                    if let Some(entry) = self.execs.known().get(&id) {
                        entry.ended.send_replace(Some((exit, at_unix_nanos)));
                    }
                }
                Report::Kept { id } => {
                    let waiting = self.execs.known().get_mut(&id).and_then(|entry| entry.kept.take());
                    let fds = descriptor::check_all(fds);
                    drop(waiting.map(|waiting| waiting.send(fds)));
                }
                Report::Execs(page) => self.page(page),
            }
        }
    }

    fn begun(&self, id: &ExecId, outcome: Result<Option<OwnedFd>, GuestError>) {
        let waiting = self.execs.known().get_mut(id).and_then(|entry| entry.begun.take());
        // Nobody waits any more for what was started.
        if let Some(waiting) = waiting
            && let Err(Ok(_)) = waiting.send(outcome)
        {
            drop(self.signal_exec(id, libc::SIGKILL));
            drop(self.forget(id));
        }
    }

    fn page(&self, page: Vec<ExecState>) {
        let mut known = self.execs.known();
        for exec in &page {
            known.entry(exec.id.clone()).or_insert_with(|| Entry::new(exec.ended));
        }
        drop(known);
        let waiting = self.execs.page.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(waiting.map(|waiting| waiting.send(page)));
    }
}
