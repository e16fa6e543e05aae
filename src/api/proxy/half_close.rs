//! Clients that end their side of a connection and still wait for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Between whoever reads a connection and whoever answers on it. For most answers a client that has ended its side has
/// left, and nobody goes on for it. A request that is carried to a sandbox is between the client and the program there.
#[derive(Debug, Clone, Default)]
pub struct HalfClose(Arc<AtomicBool>);

impl HalfClose {
    /// The request has come whole; the end of the client's side does not mean that nobody waits for the answer.
    pub fn allow(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Another request begins.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
