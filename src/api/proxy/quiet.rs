//! How long nothing has happened.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::HalfClose;

/// A wait that begins anew with everything that is sent.
#[derive(Debug, Clone)]
pub struct Quiet {
    began: Instant,
    /// Milliseconds after `began`.
    last: Arc<AtomicU64>,
    limit: Duration,
}

impl Quiet {
    pub fn new(limit: Duration) -> Self {
        Self { began: Instant::now(), last: Arc::default(), limit }
    }

    /// Resolves when nothing was sent for as long as the limit.
    pub async fn too_long(&self) {
        loop {
            let last = self.last.load(Ordering::Relaxed);
            sleep_until(self.began + Duration::from_millis(last) + self.limit).await;
            if self.last.load(Ordering::Relaxed) == last {
                return;
            }
        }
    }

    pub fn limit(&self) -> Duration {
        self.limit
    }

    fn heard(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }
}

/// The body of a request on its way.
#[derive(Debug)]
pub struct Sent {
    pub body: Body,
    pub quiet: Quiet,
    /// Told when it has come whole.
    pub half_close: HalfClose,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.quiet.heard();
            if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
                self.half_close.allow();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_prolongs_the_wait() {
        let quiet = Quiet::new(Duration::from_secs(10));
        let start = Instant::now();
        let speaker = {
            let quiet = quiet.clone();
            tokio::spawn(async move {
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_secs(9)).await;
                    quiet.heard();
                }
            })
        };
        quiet.too_long().await;
        assert_eq!(start.elapsed().as_secs(), 37);
        speaker.await.expect("ended");
    }
}
