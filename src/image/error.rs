//! What can go wrong with images.

use std::io;

use thiserror::Error;

use super::registry::RegistryFailure;

/// Each text completes "failed to ..." and names the object.
#[derive(Debug, Error)]
pub enum ImageError {
    #[error("find image {name:?}: there is no image of that name; `bivouac image list` shows what is here")]
    NotFound { name: String },

    #[error("find image {name:?}: {problem}")]
    Ambiguous { name: String, problem: String },

    #[error(
        "use image {name}: a layer of it was found damaged and is set aside; {} it again",
        if *.pulled { "pull" } else { "import or pull" }
    )]
    Damaged { name: String, pulled: bool },

    #[error("use {name:?} as the name of an image: {problem}")]
    InvalidName { name: String, problem: &'static str },

    #[error("remove image {name}: sandbox {by} uses it")]
    InUse { name: String, by: String },

    /// The input is not what it should be; `at` names the layer, the document or the entry.
    #[error("read {at}: {problem}")]
    Bad { at: String, problem: String },

    /// The input would cost more than it may.
    #[error("read {at}: {what} exceed the limit of {limit}")]
    TooLarge { at: String, what: &'static str, limit: u64 },

    #[error("use the image: it is made for {found}, this host is {host}")]
    WrongPlatform { found: String, host: String },

    /// The registry at `host` did not give what was asked for.
    #[error("pull from {host}: {problem}")]
    Registry { host: String, kind: RegistryFailure, problem: String },

    /// The host failed, not the input.
    #[error("{action}")]
    Io { action: String, source: io::Error },
}

impl ImageError {
    /// Whether the cause lies in what the caller handed over, not in this host.
    #[must_use]
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, Self::Io { .. } | Self::Damaged { .. })
    }

    pub(super) fn bad(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Bad { at: at.into(), problem: problem.into() }
    }

    pub(super) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { action: action.into(), source: source.into() }
    }

    /// Gets back the error that a reader of ours passed through `std::io::Read`; any other is a failure to read `at`.
    pub(super) fn from_read(error: io::Error, at: &str) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::bad(at, "it ends too early"),
            Err(error) => Self::io(format!("read {at}"), error),
        }
    }
}

/// So that readers of ours can say what is wrong through `std::io::Read`.
impl From<ImageError> for io::Error {
    fn from(error: ImageError) -> Self {
        Self::other(error)
    }
}
