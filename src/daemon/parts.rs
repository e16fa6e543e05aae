//! The parts that the daemon is put together from: the images and the host.

use std::sync::Arc;

use super::{Config, StartFailure};
use crate::sandbox::Host;

/// What sandboxes are made of, and with.
pub struct Parts {
    pub host: Arc<dyn Host>,
}

/// Opens the images and starts what makes sandboxes on this host.
///
/// # Errors
/// [`StartFailure::Unfit`] when this host cannot run sandboxes.
pub async fn assemble(_config: &Config) -> Result<Parts, StartFailure> {
    Err(StartFailure::Unfit { source: "there is no host yet".into() })
}
