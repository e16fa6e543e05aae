//! The contexts of one sandbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::Budget;
use super::context::CodeContext;
use super::label::Label;
use super::{CodeError, Language};
use crate::sandbox::{ExecError, FoundExecution, Inside, Program};

pub use super::label::CWD_BYTES;

/// Each costs the sandbox a process and the daemon a few descriptors.
const MOST: usize = 64;

/// A context that is asked for.
#[derive(Debug)]
pub struct NewContext {
    pub language: Language,
    /// In place of the directory of every process of the sandbox.
    pub cwd: Option<String>,
}

#[derive(Debug)]
pub struct Contexts {
    inside: Inside,
    budget: Budget,
    known: Mutex<HashMap<String, Arc<CodeContext>>>,
    /// One context is made at a time.
    making: tokio::sync::Mutex<()>,
}

impl Contexts {
    /// Takes over those of an earlier daemon. One whose process has ended begins afresh with its next run.
    pub(super) async fn find(inside: Inside) -> Result<Self, ExecError> {
        let budget = Budget::default();
        let mut known: HashMap<String, Arc<CodeContext>> = HashMap::new();
        for FoundExecution { label, execution } in inside.executions().await? {
            let Some(label) = Label::from_text(&label) else { continue };
            let id = label.0.code_context.clone();
            // A daemon may have ended between the start of a fresh process and the end of the old one.
            if known.contains_key(&id) && execution.end().is_some() {
                execution.forget();
                continue;
            }
            let context = CodeContext::found(inside.clone(), budget.clone(), label, execution).await;
            known.insert(id, Arc::new(context));
        }
        Ok(Self { inside, budget, known: Mutex::new(known), making: tokio::sync::Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<CodeContext>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a context and starts its process.
    ///
    /// # Errors
    /// When there are too many, or the image cannot run the language.
    pub async fn create(&self, new: NewContext, defaults: Program) -> Result<Arc<CodeContext>, CodeError> {
        let _one = self.making.lock().await;
        self.make(new, defaults, false).await
    }

    /// The context of a language for runs that name none; made for the first of them.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn default_of(&self, language: Language, defaults: Program) -> Result<Arc<CodeContext>, CodeError> {
        let _one = self.making.lock().await;
        let found = self.list(Some(language)).into_iter().find(|context| context.label().is_default);
        match found {
            Some(context) => Ok(context),
            None => self.make(NewContext { language, cwd: None }, defaults, true).await,
        }
    }

    async fn make(&self, new: NewContext, defaults: Program, is_default: bool) -> Result<Arc<CodeContext>, CodeError> {
        if self.known().len() >= MOST {
            return Err(CodeError::TooMany(MOST));
        }
        let label = Label {
            code_context: uuid::Uuid::new_v4().to_string(),
            language: new.language.name().to_owned(),
            cwd: new.cwd,
            is_default,
            created_unix_nanos: crate::sys::unix_nanos(),
        };
        let context = Arc::new(CodeContext::new(self.inside.clone(), self.budget.clone(), label, new.language));
        context.kernel(defaults).await?;
        self.known().insert(context.id().to_owned(), Arc::clone(&context));
        Ok(context)
    }

    /// Of one language or of all, in the order of their making.
    #[must_use]
    pub fn list(&self, language: Option<Language>) -> Vec<Arc<CodeContext>> {
        let wanted = |context: &&Arc<CodeContext>| language.is_none_or(|language| context.language() == language);
        let mut all: Vec<_> = self.known().values().filter(wanted).cloned().collect();
        all.sort_by(|a, b| (a.label().created_unix_nanos, a.id()).cmp(&(b.label().created_unix_nanos, b.id())));
        all
    }

    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<CodeContext>> {
        self.known().get(id).cloned()
    }

    /// Ends a context and its process; false when there is none of this id.
    pub fn delete(&self, id: &str) -> bool {
        let context = self.known().remove(id);
        context.inspect(|context| context.delete()).is_some()
    }
}
