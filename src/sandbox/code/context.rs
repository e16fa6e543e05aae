//! A context, which outlives the processes that serve it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::budget::Budget;
use super::kernel::Kernel;
use super::label::Label;
use super::{CodeError, CodeEvent, Language, actor};
use crate::model::Exit;
use crate::sandbox::{Execution, Inside, Program};

#[derive(Debug)]
pub struct CodeContext {
    label: Label,
    language: Language,
    inside: Inside,
    /// Of all contexts of the sandbox.
    budget: Budget,
    kernel: Mutex<Option<Arc<Kernel>>>,
    /// A process of an earlier daemon that is of no use any more.
    stale: Mutex<Option<Execution>>,
    /// One start at a time.
    start: tokio::sync::Mutex<()>,
}

/// A run that was begun.
#[derive(Debug)]
pub struct CodeRun {
    pub events: mpsc::Receiver<CodeEvent>,
    /// What the user should know before it.
    pub note: Option<String>,
}

impl CodeContext {
    pub(super) fn new(inside: Inside, budget: Budget, label: Label, language: Language) -> Self {
        let (kernel, stale, start) = (Mutex::default(), Mutex::default(), tokio::sync::Mutex::default());
        Self { label, language, inside, budget, kernel, stale, start }
    }

    /// The context of a process that an earlier daemon has started, whether it lives or not.
    pub(super) async fn found(
        inside: Inside,
        budget: Budget,
        (label, language): (Label, Language),
        execution: Execution,
    ) -> Self {
        let mut context = Self::new(inside, budget, label, language);
        if execution.end().is_none() {
            let kernel = Kernel::adopt(&context.inside, &context.budget, language, execution.clone()).await;
            context.kernel = Mutex::new(kernel.map(Arc::new));
        }
        if context.last().is_none() {
            context.stale = Mutex::new(Some(execution));
        }
        context
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.label.code_context
    }

    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// The directory that was asked for.
    #[must_use]
    pub fn cwd(&self) -> Option<&str> {
        self.label.cwd.as_deref()
    }

    pub(super) fn label(&self) -> &Label {
        &self.label
    }

    /// Runs code, in a fresh process when the last one has ended.
    ///
    /// # Errors
    /// When a run is going on, or the process cannot be started.
    pub async fn run(&self, code: &str, defaults: Program) -> Result<CodeRun, CodeError> {
        let (kernel, note) = self.kernel(defaults).await?;
        Ok(CodeRun { events: kernel.run(code).await?, note })
    }

    /// The process that serves it, started where there is none.
    pub(super) async fn kernel(&self, mut defaults: Program) -> Result<(Arc<Kernel>, Option<String>), CodeError> {
        let _one = self.start.lock().await;
        let last = self.last();
        let note = match &last {
            Some(kernel) => match kernel.end() {
                None => return Ok((Arc::clone(kernel), None)),
                Some(exit) => Some(actor::death(&self.inside, self.language, exit).await),
            },
            None => self.death_before().await,
        };
        if let Some(cwd) = self.cwd() {
            cwd.clone_into(&mut defaults.process.cwd);
        }
        let kernel =
            Arc::new(Kernel::start(&self.inside, &self.budget, self.language, defaults, self.label.to_text()).await?);
        last.inspect(|last| last.delete());
        self.drop_stale();
        *self.kernel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&kernel));
        Ok((kernel, note))
    }

    fn last(&self) -> Option<Arc<Kernel>> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Interrupts the run that is going on; nothing when there is none. The process stays.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub fn interrupt(&self) -> Result<(), CodeError> {
        self.last().map_or(Ok(()), |kernel| kernel.interrupt())
    }

    pub(super) fn delete(&self) {
        self.last().inspect(|kernel| kernel.delete());
        self.drop_stale();
    }

    async fn death_before(&self) -> Option<String> {
        let exit = {
            let stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
            stale.as_ref().map(|execution| execution.end().map_or(Exit::Unknown, |ended| ended.exit))
        };
        match exit {
            Some(exit) => Some(actor::death(&self.inside, self.language, exit).await),
            None => None,
        }
    }

    fn drop_stale(&self) {
        if let Some(execution) = self.stale.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(execution.signal(libc::SIGKILL));
            execution.forget();
        }
    }
}
