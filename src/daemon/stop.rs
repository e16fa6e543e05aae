//! Being told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::StartFailure;

/// The signals that stop the daemon in order.
#[derive(Debug)]
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From here on these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When a handler cannot be set.
    pub fn catch() -> Result<Self, StartFailure> {
        let catch = |kind| signal(kind).map_err(|source| StartFailure::Process { what: "catch signals", source });
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Resolves with the name of the signal when one has come.
    pub async fn told(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
