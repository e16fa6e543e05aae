//! Disks that are unmounted when nobody waits for it. Their room comes back in a moment, which a create may need.

use std::time::Duration;

use tokio::sync::watch;

/// How long a create waits for room: an unmount takes some 10 ms.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many are under way.
#[derive(Debug)]
pub struct Unmounts(watch::Sender<usize>);

impl Default for Unmounts {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Unmounts {
    /// Lets go of a disk on a thread that may wait for it.
    pub fn let_go<T: Send + 'static>(&self, disk: T) {
        let count = self.0.clone();
        count.send_modify(|count| *count += 1);
        drop(tokio::task::spawn_blocking(move || {
            drop(disk);
            count.send_modify(|count| *count -= 1);
        }));
    }

    /// Waits for those that are under way, but not long; `false` when there are none.
    pub async fn wait(&self) -> bool {
        let mut count = self.0.subscribe();
        if *count.borrow_and_update() == 0 {
            return false;
        }
        // Who waited in vain looks once more all the same.
        drop(tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == 0)).await);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// It is gone when somebody says so.
    struct Slow(Receiver<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.recv().expect("told");
        }
    }

    #[tokio::test]
    async fn who_needs_room_waits_for_what_is_under_way() {
        let unmounts = Unmounts::default();
        assert!(!unmounts.wait().await, "nothing is");
        let (tell, told) = channel();
        unmounts.let_go(Slow(told));
        let mut waiting = std::pin::pin!(unmounts.wait());
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err(), "not yet");
        tell.send(()).expect("heard");
        assert!(waiting.await);
        assert!(!unmounts.wait().await, "no more");
    }
}
