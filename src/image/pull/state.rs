//! How far a pull is, as data and in words.

use std::fmt;
use std::sync::Arc;

use crate::image::{Image, ImageError};

#[derive(Debug, Clone)]
pub enum PullState {
    /// For its turn.
    Waiting,
    /// The registry is asked what the image is made of.
    Resolving,
    Fetching(Fetched),
    /// All is here and is being made safe against a power cut.
    Writing,
    Done(Arc<Image>),
    Failed(Arc<ImageError>),
}

/// Layers count as a whole, those that were here before too; bytes are compressed ones, of the layers that were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    pub layers: usize,
    pub layers_total: usize,
    pub bytes: u64,
    pub bytes_total: u64,
}

impl PullState {
    pub(super) fn over(done: Result<Arc<Image>, ImageError>) -> Self {
        match done {
            Ok(image) => Self::Done(image),
            Err(error) => Self::Failed(Arc::new(error)),
        }
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed(_))
    }
}

/// "3 of 5 layers, 48 of 121 MiB"
impl fmt::Display for PullState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting for other pulls"),
            Self::Resolving => f.write_str("asking the registry"),
            Self::Fetching(Fetched { layers, layers_total, bytes, bytes_total }) => {
                write!(f, "{layers} of {layers_total} layers, {} of {} MiB", bytes >> 20, bytes_total.div_ceil(1 << 20))
            }
            Self::Writing => f.write_str("writing to the disk"),
            Self::Done(_) => f.write_str("done"),
            Self::Failed(error) => write!(f, "failed to {error}"),
        }
    }
}
