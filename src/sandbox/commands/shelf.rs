//! The commands of one sandbox.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::sync::{OnceCell, mpsc};

use super::command::Command;
use super::foreground::{Event, Stream};
use super::interactive::{self, Blueprint, Entrypoint, Interactive};
use super::label::{Kind, Label};
use super::output_file::OutputFile;
use super::session::Session;
use super::{background, foreground, pipes};
use crate::model::ExecId;
use crate::sandbox::{ExecError, Execution, FoundExecution, Inside, Job, Order, Program};

/// Commands that have ended and can still be asked for; each costs PID 1 a label, and one in the background a file.
const REMEMBERED: usize = 1000;

/// Interactive processes of one sandbox at a time; each costs the daemon and PID 1 up to three descriptors.
const MOST_INTERACTIVE: usize = 500;

/// What to run.
#[derive(Debug)]
pub struct Request {
    /// What the user wrote, for the status.
    pub content: String,
    pub program: Program,
    /// Until it is killed.
    pub timeout: Option<Duration>,
}

/// A command that somebody listens to.
#[derive(Debug)]
pub struct Running {
    pub command: Command,
    pub events: mpsc::Receiver<Event>,
}

#[derive(Debug)]
pub struct Shelf {
    inside: Inside,
    dir: PathBuf,
    keep: u64,
    commands: Mutex<HashMap<ExecId, Command>>,
    /// In the order of their start.
    order: Mutex<VecDeque<ExecId>>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    interactive: Mutex<HashMap<ExecId, Arc<Interactive>>>,
    entrypoint: OnceCell<Option<Arc<Entrypoint>>>,
}

impl Shelf {
    /// Takes over what an earlier daemon has started. Blocks on the disk for moments.
    pub(super) async fn find(inside: Inside, dir: PathBuf, keep: u64) -> Result<Self, ExecError> {
        let found = inside.executions().await?;
        let sessions = Mutex::new(Session::find_all(&dir));
        let (commands, order, interactive) = (Mutex::default(), Mutex::default(), Mutex::default());
        let entrypoint = OnceCell::new();
        let mut shelf = Self { inside, dir, keep, commands, order, sessions, interactive, entrypoint };
        let (mut commands, mut interactive) = (Vec::new(), interactive::Found::new());
        for FoundExecution { label, execution } in found {
            match Label::from_text(&label) {
                Some(Label { kind: kind @ (Kind::Terminal | Kind::Piped), .. }) => {
                    interactive.insert(execution.id().clone(), (kind, execution));
                }
                Some(label) => commands.push((label.started_unix_nanos, shelf.take_over(label, execution).await?)),
                None => {}
            }
        }
        shelf.interactive = Mutex::new(Interactive::find_all(&shelf.dir, &shelf.inside, interactive).await?);
        commands.sort_by_key(|(started, _)| *started);
        commands.into_iter().for_each(|(_, command)| shelf.remember(command));
        Ok(shelf)
    }

    /// Goes on reading what nobody reads since the daemon that had started it ended.
    async fn take_over(&self, label: Label, execution: Execution) -> Result<Command, ExecError> {
        let kind = label.kind;
        let kept = execution.kept().await?;
        let mut readers = Vec::new();
        for pipe in kept {
            readers.push(pipes::receiver(pipe).map_err(io_failed)?);
        }
        let output = match kind {
            Kind::Background => {
                Some(Arc::new(OutputFile::open(&self.output_path(execution.id()), self.keep).map_err(io_failed)?))
            }
            _ => None,
        };
        let command = Command::new(label, execution, output.clone(), readers.len());
        match output {
            Some(output) => {
                for pipe in readers {
                    background::attend(command.clone(), self.inside.clone(), pipe, Arc::clone(&output), None);
                }
            }
            // Who listened is gone.
            None => drop(self.follow(&command, readers.into_iter().map(|pipe| (Stream::Stdout, pipe)).collect(), None)),
        }
        Ok(command)
    }

    fn follow(
        &self,
        command: &Command,
        outputs: Vec<(Stream, Receiver)>,
        timeout: Option<Duration>,
    ) -> mpsc::Receiver<Event> {
        foreground::follow(command.clone(), self.inside.clone(), outputs, timeout)
    }

    #[must_use]
    pub fn inside(&self) -> &Inside {
        &self.inside
    }

    /// The entrypoint, for clients that take part in it; `None` where nothing of it is handed out.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub async fn entrypoint(&self) -> Result<Option<Arc<Entrypoint>>, ExecError> {
        let find = || async { Ok(Entrypoint::find(self.inside.clone()).await?.map(Arc::new)) };
        self.entrypoint.get_or_try_init(find).await.cloned()
    }

    /// Where things of this sandbox are kept on the host.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a command and listens to it.
    ///
    /// # Errors
    /// Why it was not started.
    pub async fn run(&self, request: Request) -> Result<Running, ExecError> {
        let (stdout, stderr) = (pipes::output().map_err(io_failed)?, pipes::output().map_err(io_failed)?);
        let timeout = request.timeout;
        let fds = vec![(stdout.theirs, 1), (stderr.theirs, 2)];
        let command = self.start(Kind::Foreground, request, fds, vec![stdout.kept, stderr.kept], None).await?;
        let outputs = vec![(Stream::Stdout, stdout.ours), (Stream::Stderr, stderr.ours)];
        let events = self.follow(&command, outputs, timeout);
        Ok(Running { command, events })
    }

    /// Starts a command and listens to it; both of its outputs are one, and it has these descriptors besides.
    pub(super) async fn run_joined(&self, request: Request, extra: Vec<(OwnedFd, i32)>) -> Result<Running, ExecError> {
        let output = pipes::output().map_err(io_failed)?;
        let timeout = request.timeout;
        let copy = output.theirs.try_clone().map_err(io_failed)?;
        let mut fds = vec![(output.theirs, 1), (copy, 2)];
        fds.extend(extra);
        let command = self.start(Kind::Session, request, fds, vec![output.kept], None).await?;
        let events = self.follow(&command, vec![(Stream::Stdout, output.ours)], timeout);
        Ok(Running { command, events })
    }

    /// Starts a command whose output, both streams in one, goes to disk.
    ///
    /// # Errors
    /// Why it was not started.
    pub async fn run_in_background(&self, request: Request) -> Result<Command, ExecError> {
        let pipe = pipes::output().map_err(io_failed)?;
        let timeout = request.timeout;
        let copy = pipe.theirs.try_clone().map_err(io_failed)?;
        let fds = vec![(pipe.theirs, 1), (copy, 2)];
        let command = self.start(Kind::Background, request, fds, vec![pipe.kept], Some(())).await?;
        if let Some(output) = command.output() {
            background::attend(command.clone(), self.inside.clone(), pipe.ours, Arc::clone(output), timeout);
        }
        Ok(command)
    }

    async fn start(
        &self,
        kind: Kind,
        request: Request,
        fds: Vec<(OwnedFd, i32)>,
        kept: Vec<OwnedFd>,
        to_disk: Option<()>,
    ) -> Result<Command, ExecError> {
        let label = Label { kind, content: request.content, started_unix_nanos: crate::sys::unix_nanos() };
        let pipes = kept.len();
        let job = Job::Program(Box::new(request.program));
        let order = Order { fds, kept, label: label.to_text(), ..Order::new(job) };
        let path = to_disk.map(|()| self.output_path(&order.id));
        let output = path.as_ref().map(|path| OutputFile::open(path, self.keep)).transpose().map_err(io_failed)?;
        match self.inside.start(order).await {
            Ok(started) => {
                let command = Command::new(label, started.execution, output.map(Arc::new), pipes);
                self.remember(command.clone());
                Ok(command)
            }
            Err(error) => {
                path.map(std::fs::remove_file).transpose().unwrap_or_default();
                Err(error)
            }
        }
    }

    /// A command by its id.
    #[must_use]
    pub fn command(&self, id: &ExecId) -> Option<Command> {
        lock(&self.commands).get(id).cloned()
    }

    fn remember(&self, command: Command) {
        let mut order = lock(&self.order);
        let mut commands = lock(&self.commands);
        order.push_back(command.id().clone());
        commands.insert(command.id().clone(), command);
        if order.len() <= REMEMBERED {
            return;
        }
        // The oldest that has ended; what runs is never forgotten.
        let oldest = order.iter().position(|id| commands.get(id).is_none_or(|command| command.end().is_some()));
        if let Some(id) = oldest.and_then(|at| order.remove(at))
            && let Some(command) = commands.remove(&id)
        {
            command.execution().forget();
            if command.kind() == Kind::Background {
                drop(std::fs::remove_file(self.output_path(&id)));
            }
        }
    }

    /// Prepares an interactive process, which begins with its first client.
    ///
    /// # Errors
    /// When there are too many, or the disk is full.
    pub fn open_interactive(&self, blueprint: Blueprint) -> Result<Arc<Interactive>, ExecError> {
        let mut all = lock(&self.interactive);
        if all.len() >= MOST_INTERACTIVE {
            // Somebody has not deleted what has ended.
            let idle = all.iter().find(|(_, process)| process.is_idle()).map(|(id, _)| id.clone());
            let idle = idle.and_then(|id| all.remove(&id));
            idle.ok_or_else(|| {
                ExecError::Host(format!(
                    "{MOST_INTERACTIVE} interactive processes run; delete those that are no longer needed"
                ))
            })?
            .close();
        }
        let process = Interactive::make(&self.dir, self.inside.clone(), blueprint).map_err(io_failed)?;
        all.insert(process.id().clone(), Arc::clone(&process));
        Ok(process)
    }

    #[must_use]
    pub fn interactive(&self, id: &ExecId) -> Option<Arc<Interactive>> {
        lock(&self.interactive).get(id).cloned()
    }

    /// Ends an interactive process; false when there is none of this id.
    pub fn close_interactive(&self, id: &ExecId) -> bool {
        let process = lock(&self.interactive).remove(id);
        process.inspect(|process| process.close()).is_some()
    }

    fn output_path(&self, id: &ExecId) -> PathBuf {
        self.dir.join(format!("command-{id}"))
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        lock(&self.sessions)
    }
}

pub(super) fn io_failed(error: io::Error) -> ExecError {
    ExecError::Host(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
