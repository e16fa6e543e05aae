//! How much of what its code says the daemon holds for one sandbox.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frame::LONGEST;

/// One long line that is being read, and others that are read already and wait for slow clients.
const MOST: usize = LONGEST + (4 << 20);

/// Room for the long lines of all contexts of a sandbox, in bytes. When it is full the contexts that have more to say wait,
/// each with a little; what other sandboxes do has no part in it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Budget {
    /// Room for the longest line: nobody knows how long one becomes, and two that wait for each other would wait for ever.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(LONGEST).unwrap_or(u32::MAX);
        Arc::clone(&self.0).acquire_many_owned(bytes).await.ok()
    }

    /// Gives back what a line does not need.
    pub fn shrink(place: &mut OwnedSemaphorePermit, bytes: usize) {
        drop(place.split(place.num_permits().saturating_sub(bytes)));
    }

    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.0.available_permits()
    }
}
