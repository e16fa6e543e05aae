//! A driver that panics is a defect, and must not be the end of its sandbox: it takes the sandbox over again, as a
//! new daemon would. (Where a panic aborts the process, it is a new daemon that does.)

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::{Driver, Fate, Finish};

/// A driver that panics again and again is given this much time, doubled each time.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(60);

impl Driver {
    /// Runs until the sandbox or the daemon is no more.
    pub async fn live(&mut self) -> Finish {
        loop {
            match caught(self.run()).await {
                Ok(finish) => return finish,
                Err(panic) => report(&*panic),
            }
            self.recover().await;
        }
    }

    /// [`adopt`](Self::adopt); `None` when it panicked, and then [`live`](Self::live) would not know what is so.
    pub async fn adopt_guarded(&mut self) -> Option<Fate> {
        caught(self.adopt()).await.inspect_err(|panic| report(&**panic)).ok()
    }

    /// Takes the sandbox over after a panic. The state itself is whole, as it is only ever replaced as one value; what
    /// was in flight is unknown, and who waited for it is told so by the end of the channel.
    pub async fn recover(&mut self) {
        loop {
            (self.work, self.life, self.asker, self.held) = (None, None, None, None);
            (self.fault, self.state.work) = (None, None);
            let rest = FIRST_REST.saturating_mul(1 << self.panics.min(16)).min(LONGEST_REST);
            self.panics = self.panics.saturating_add(1);
            tokio::time::sleep(rest).await;
            if self.adopt_guarded().await.is_some() {
                return;
            }
        }
    }
}

fn report(panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "the driver of the sandbox panicked; it takes the sandbox over again");
}

async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
