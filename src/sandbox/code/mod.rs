//! Code contexts: interpreters of the image that keep what code has left for the next run.
//!
//! A context is one process of the image's own interpreter with a small runner of ours, which comes over a descriptor and
//! never touches the image's files. Requests and answers go over two more descriptors; the standard streams belong to the
//! code and to whatever it starts. PID 1 keeps the ends of all of them with a label, so that the next daemon finds the same
//! process. Whatever a runner says is said by the user's code, as far as the daemon knows.

mod actor;
mod budget;
mod context;
mod frame;
mod kernel;
mod label;
mod language;
mod rich;
mod shelf;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::OnceCell;

use super::commands::Stream;
use super::{ExecError, Inside};
use crate::model::{Phase, SandboxId};

pub use context::{CodeContext, CodeRun};
pub use language::Language;
pub use rich::Rich;
pub use shelf::{CWD_BYTES, Contexts, NewContext};

/// What a run tells whoever listens to it.
#[derive(Debug)]
pub enum CodeEvent {
    Output(Stream, Vec<u8>),
    /// The number of the run in its context.
    Count(u64),
    /// A value, by its mime types.
    Result(Rich),
    /// The last one.
    Ended(CodeEnd),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeEnd {
    Complete,
    Failed {
        ename: String,
        evalue: String,
        traceback: Vec<String>,
    },
    /// A command of a shell came to this exit status, or the shell itself.
    Status(i32),
    /// The process of the context ended, in words.
    Died(String),
    /// The context was deleted.
    Deleted,
    /// The sandbox has ended, or is being removed.
    SandboxLeft(Phase),
}

/// Why code is not run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodeError {
    #[error("session is busy: a run is going on in this context; wait for its end, or interrupt it")]
    Busy,
    #[error("there are {0} contexts; delete those that are no longer needed")]
    TooMany(usize),
    /// The image cannot run this language.
    #[error("{0}")]
    Missing(String),
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// The contexts of all sandboxes.
#[derive(Debug, Default)]
pub struct CodeContexts {
    shelves: Mutex<HashMap<SandboxId, Arc<OnceCell<Arc<Contexts>>>>>,
}

impl CodeContexts {
    /// The contexts of a sandbox. For the first who asks, those of an earlier daemon are found again.
    ///
    /// # Errors
    /// When the sandbox cannot be reached.
    pub async fn of(self: &Arc<Self>, inside: &Inside) -> Result<Arc<Contexts>, ExecError> {
        let (cell, first) = {
            let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
            let first = !shelves.contains_key(inside.id());
            (Arc::clone(shelves.entry(inside.id().clone()).or_default()), first)
        };
        if first {
            self.forget_after(inside.clone());
        }
        let find = || async { Contexts::find(inside.clone()).await.map(Arc::new) };
        cell.get_or_try_init(find).await.cloned()
    }

    fn forget_after(self: &Arc<Self>, inside: Inside) {
        let contexts = Arc::downgrade(self);
        tokio::spawn(async move {
            inside.left().await;
            if let Some(contexts) = contexts.upgrade() {
                contexts.shelves.lock().unwrap_or_else(PoisonError::into_inner).remove(inside.id());
            }
        });
    }
}
