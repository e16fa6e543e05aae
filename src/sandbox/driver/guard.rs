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
        let mut rest = FIRST_REST;
        loop {
            match caught(self.run()).await {
                Ok(finish) => return finish,
                Err(panic) => report(&*panic),
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(LONGEST_REST);
            self.recover().await;
        }
    }

    /// [`adopt`](Self::adopt), with a panic taken for a sandbox whose state nobody knows: it is looked at again.
    pub async fn adopt_guarded(&mut self) -> Option<Fate> {
        caught(self.adopt()).await.inspect_err(|panic| report(&**panic)).ok()
    }

    /// The state itself is whole: it is only ever replaced as one value. What was in flight is not known.
    async fn recover(&mut self) {
        (self.work, self.life, self.asker, self.held) = (None, None, None, None);
        self.state.work = None;
        self.adopt_guarded().await;
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
