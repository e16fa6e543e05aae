//! Sessions: runs of a shell that go on where the last one ended.
//!
//! Every run is a shell of its own, so that nothing lingers between runs and a run that is killed takes nothing with it.
//! What a shell knows (variables, functions, aliases, options, directory) it writes to a descriptor when it ends, and the
//! next one reads it. The daemon keeps that on disk, beside the sandbox's log.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::pipes;
use super::shelf::{Request, Running, Shelf, io_failed};
use crate::model::Exit;
use crate::sandbox::{ExecError, Process, Program};
use crate::sys;

/// What a shell may leave for the next one; more than this is not kept.
const STATE_BYTES: u64 = 4 << 20;

/// Sessions of one sandbox at a time.
const MOST: usize = 1000;

const BASH: &str = include_str!("session/bash.sh");
const SH: &str = include_str!("session/sh.sh");

#[derive(Debug)]
pub struct Session {
    id: String,
    path: PathBuf,
    /// One run at a time.
    turn: Arc<Mutex<()>>,
}

/// A run of a session.
#[derive(Debug)]
pub struct SessionRun {
    pub code: String,
    /// In place of the directory where the last run ended.
    pub cwd: Option<String>,
    pub timeout: Option<Duration>,
    /// What every command of this sandbox is given.
    pub defaults: Program,
}

impl Session {
    /// Those that an earlier daemon has left.
    pub(super) fn find_all(dir: &Path) -> HashMap<String, Arc<Self>> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("session-")?.to_owned()));
        ids.map(|id| (id.clone(), Arc::new(Self::new(dir, id)))).collect()
    }

    fn new(dir: &Path, id: String) -> Self {
        Self { path: dir.join(format!("session-{id}")), id, turn: Arc::default() }
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn state(&self) -> Vec<u8> {
        let mut state = Vec::new();
        let file = fs::File::open(&self.path);
        drop(file.and_then(|file| file.take(STATE_BYTES).read_to_end(&mut state)));
        state
    }

    /// Replaces the state as a whole, or leaves it.
    fn keep(&self, state: &[u8]) {
        let fresh = self.path.with_file_name(format!("new-session-{}", self.id));
        let mut options = fs::OpenOptions::new();
        let written = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh);
        let written = written.and_then(|mut file| file.write_all(state));
        if let Err(error) = written.and_then(|()| fs::rename(&fresh, &self.path)) {
            tracing::warn!(%error, "the state of a session could not be kept");
        }
    }
}

impl Shelf {
    /// Makes a session whose first run begins where every command does.
    ///
    /// # Errors
    /// When there are too many, or the disk is full.
    pub fn open_session(&self) -> Result<Arc<Session>, ExecError> {
        let session = Arc::new(Session::new(self.dir(), uuid::Uuid::new_v4().to_string()));
        let mut sessions = self.sessions();
        if sessions.len() >= MOST {
            return Err(ExecError::Host(format!("there are {MOST} sessions; delete those that are no longer needed")));
        }
        fs::write(&session.path, "").map_err(io_failed)?;
        sessions.insert(session.id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Ends a session; false when there is none of this id. A run that is going on is not disturbed.
    pub fn close_session(&self, id: &str) -> bool {
        let session = self.sessions().remove(id);
        session.inspect(|session| drop(fs::remove_file(&session.path))).is_some()
    }

    #[must_use]
    pub fn session(&self, id: &str) -> Option<Arc<Session>> {
        self.sessions().get(id).cloned()
    }

    /// Runs code in a session, after the runs before it.
    ///
    /// # Errors
    /// Why it was not started.
    pub async fn run_in_session(
        self: &Arc<Self>,
        session: &Arc<Session>,
        run: SessionRun,
    ) -> Result<Running, ExecError> {
        let turn = Arc::clone(&session.turn).lock_owned().await;
        let state = sys::memfd(c"session", &session.state()).map_err(|error| ExecError::Host(error.to_string()))?;
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(|error| io_failed(error.into()))?;
        let ours = pipe::Receiver::from_owned_fd(ours).map_err(io_failed)?;
        let request = Request { content: run.code.clone(), timeout: run.timeout, program: program(run) };
        let running = self.run_joined(request, vec![(state, 8), (theirs, 9)]).await?;
        self.keep_state(session, &running, ours, turn);
        Ok(running)
    }

    /// The next run waits until this has what the run has left.
    fn keep_state(
        &self,
        session: &Arc<Session>,
        running: &Running,
        mut state: pipe::Receiver,
        turn: OwnedMutexGuard<()>,
    ) {
        let (session, command, inside) = (Arc::clone(session), running.command.clone(), self.inside().clone());
        tokio::spawn(async move {
            let mut text = Vec::new();
            let ended = async {
                // What the run has started may hold the descriptor for ever; the state is written by the shell itself.
                let mut bounded = (&mut state).take(STATE_BYTES);
                tokio::select! {
                    _ = bounded.read_to_end(&mut text) => {}
                    _ = command.execution().ended() => {}
                }
                command.execution().ended().await
            };
            let ended = tokio::select! {
                ended = ended => ended,
                _ = inside.left() => return,
            };
            // What was written before the end and is not read yet.
            let mut rest = vec![0; 64 << 10];
            while let Ok(read @ 1..) = pipes::read_now(&state, &mut rest) {
                text.extend_from_slice(rest.get(..read).unwrap_or_default());
            }
            let whole = text.ends_with(b"\n#whole\n") && (text.len() as u64) < STATE_BYTES;
            if whole && !matches!(ended.exit, Exit::Unknown) {
                session.keep(&text);
            }
            drop(turn);
        });
    }
}

/// The shell with our script around the code: arguments are the code, and where to begin.
fn program(run: SessionRun) -> Program {
    let mut program = run.defaults;
    let place = if run.cwd.is_some() { "here" } else { "there" };
    let argv = |shell: &[&str], script: &str| {
        let words = shell.iter().copied().chain(["-c", script, "session", &run.code, place]);
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let (bash, sh) = (argv(&["bash", "--noprofile", "--norc"], BASH), argv(&["sh"], SH));
    let cwd = run.cwd.clone().unwrap_or_else(|| program.process.cwd.clone());
    program.process = Process { argv: bash, cwd, ..program.process };
    program.otherwise = Some(sh);
    program
}
