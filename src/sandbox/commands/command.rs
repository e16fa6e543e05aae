//! A command that was started.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::label::{Kind, Label};
use super::output_file::OutputFile;
use crate::model::ExecId;
use crate::sandbox::{Ended, Execution};

/// A clone is another handle on the same command.
#[derive(Debug, Clone)]
pub struct Command {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    label: Label,
    execution: Execution,
    output: Option<Arc<OutputFile>>,
    timed_out: OnceLock<Duration>,
    /// Pipes that are read still.
    pipes: AtomicUsize,
}

impl Command {
    pub fn new(label: Label, execution: Execution, output: Option<Arc<OutputFile>>, pipes: usize) -> Self {
        let (timed_out, pipes) = (OnceLock::new(), AtomicUsize::new(pipes));
        Self { inner: Arc::new(Inner { label, execution, output, timed_out, pipes }) }
    }

    #[must_use]
    pub fn id(&self) -> &ExecId {
        self.inner.execution.id()
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.label.kind
    }

    /// What was asked for; cut, if it is long.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.inner.label.content
    }

    #[must_use]
    pub fn started_unix_nanos(&self) -> i64 {
        self.inner.label.started_unix_nanos
    }

    #[must_use]
    pub fn execution(&self) -> &Execution {
        &self.inner.execution
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<Ended> {
        self.inner.execution.end()
    }

    /// What went wrong with it, in words; `None` while it runs, and for an exit with 0.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        if let Some(after) = self.inner.timed_out.get() {
            return Some(format!("timed out after {} ms and was killed", after.as_millis()));
        }
        self.end()?.problem()
    }

    /// Its output on disk; only of one in the background.
    #[must_use]
    pub fn output(&self) -> Option<&Arc<OutputFile>> {
        self.inner.output.as_ref()
    }

    pub(super) fn timed_out(&self, after: Duration) {
        self.inner.timed_out.get_or_init(|| after);
    }

    /// With the last of them, PID 1 need not keep them any more.
    pub(super) fn pipe_ended(&self) {
        if self.inner.pipes.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.inner.execution.release();
        }
    }
}
