//! Why a request for files was not carried out.

use thiserror::Error;

use crate::model::Phase;
use crate::proto::FileFailure;
use crate::sandbox::ExecError;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileError {
    /// An answer about what was asked for.
    #[error("{}", .0.message)]
    Refused(FileFailure),
    /// No servant could be started.
    #[error("start a file servant: {0}")]
    NotStarted(#[from] ExecError),
    /// The sandbox was paused or ended meanwhile.
    #[error("the sandbox is {0}")]
    NotRunning(Phase),
    /// The servant, or the way to it, does not work.
    #[error("ask the file servant: {0}")]
    Broken(String),
}
