//! Why a call was not carried out.

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::HostError;
use crate::model::{Phase, PolicyTooLarge};

/// A denial is an answer, not a fault: each says what is so, and nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    #[error("sandbox {id} not found")]
    NotFound { id: String },
    #[error("the sandbox is {phase}, not Running")]
    NotRunning { phase: Phase },
    #[error("the sandbox is {phase}, not Paused")]
    NotPaused { phase: Phase },
    #[error("the sandbox is {phase}: its entrypoint has ended")]
    NotAlive { phase: Phase },
    #[error("the sandbox has no expiration; it lives until it is deleted")]
    NoExpiry,
    #[error("the new expiration time is not in the future")]
    ExpiryInPast,
    #[error("the new expiration time is not after the current one, {current}")]
    ExpiryNotLater { current: DateTime<Utc> },
    #[error("the sandbox has no network, so no policy can let it reach anything")]
    NoNetwork,
    #[error("the sandbox has the network of the host, which no policy narrows")]
    HostNetwork,
    #[error("the sandbox has a network of an earlier daemon, and this one has none: {0}")]
    NetworkAway(String),
    #[error(transparent)]
    PolicyTooLarge(PolicyTooLarge),
    #[error("image {image}: {message}")]
    ImageNotFound { image: String, message: String },
    /// The host's disk is nearly full.
    #[error("{0}")]
    NoRoom(String),
    /// The call was interrupted by a fault of the daemon; nobody knows how much of it was done.
    #[error("the call on sandbox {id} was interrupted; read its state and call again")]
    Busy { id: String },
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{0}")]
    Store(String),
    #[error("the daemon is shutting down; the sandboxes stay")]
    ShuttingDown,
}
