//! Sandboxes that have the host's network already, when the operator has decided otherwise since.

use tracing::warn;

use super::{Config, StartFailure};
use crate::sandbox::Sandboxes;

/// Called before the doors open, which such a sandbox reaches as any program of the host does.
///
/// # Errors
/// When there is one, and the doors ask for too little.
pub fn check(config: &Config, sandboxes: &Sandboxes) -> Result<(), StartFailure> {
    let all = sandboxes.on_host_network();
    if let (Some(why), Some(id)) = (config.too_open_for_host_network(), all.first()) {
        return Err(StartFailure::OnHost { id: id.clone(), others: all.len() - 1, why });
    }
    if !config.allow_host_network {
        for id in &all {
            warn!(sandbox.id = %id, "has the host's network still, which no other gets now (network.allow_host = false)");
        }
    }
    Ok(())
}
