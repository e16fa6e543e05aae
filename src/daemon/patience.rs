//! How long a connection may keep us waiting.
//!
//! The HTTP library has one limit for reading a request's head, and it runs while a connection rests between two requests,
//! too. Clients keep connections for half a minute and more, and a slow head must not take that long; so the two are told
//! apart here, below it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::api::{HalfClose, Held};

/// Between two pieces of an answer to a side that has ended: it may as well have left altogether.
const AFTER_END: Duration = Duration::from_secs(60);

/// The limits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first byte of a request (of a new connection: from its beginning) to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without a byte of a body that is being sent, in either direction; `None` waits for ever.
    pub stall: Option<Duration>,
}

/// What goes on above the connection: told by who answers, read by the stream below.
#[derive(Debug, Default)]
pub struct Activity {
    open: AtomicUsize,
    begun: AtomicU64,
    /// Whether an answer goes on when its client has ended its side.
    half_close: HalfClose,
    /// The connection speaks another protocol from now on, whose times are not ours.
    beyond_http: AtomicBool,
}

/// A request that is being answered, until the last byte of the answer was taken.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Activity {
    /// A request's head was read.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.half_close.reset();
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    #[must_use]
    pub fn half_close(&self) -> HalfClose {
        self.half_close.clone()
    }
}

impl Busy {
    /// The answer is that another protocol begins.
    pub fn leaves_http(&self) {
        self.0.beyond_http.store(true, Ordering::Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the stream is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    /// The rest of a head.
    Head,
    /// Whatever the request needs: no limit of ours.
    Answer,
    /// The next request.
    Request,
}

/// A stream that fails with `TimedOut` when its other side takes longer than it may.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    patience: Patience,
    activity: Arc<Activity>,
    awaiting: Awaiting,
    seen: u64,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
    /// Runs once the other side has ended and still waits.
    ended: Option<Pin<Box<Sleep>>>,
    /// The last piece of an answer may be above still: whoever writes flushes when there is no more.
    unflushed: bool,
    place: Option<OwnedSemaphorePermit>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Patience) -> Self {
        let reading = Box::pin(sleep_until(Instant::now() + patience.head));
        let activity = Arc::default();
        Self {
            stream,
            patience,
            activity,
            awaiting: Awaiting::Head,
            seen: 0,
            reading,
            writing: None,
            ended: None,
            unflushed: false,
            place: None,
        }
    }

    /// Keeps a place taken for as long as the stream is there.
    #[must_use]
    pub fn holding(self, place: OwnedSemaphorePermit) -> Self {
        Self { place: Some(place), ..self }
    }

    #[must_use]
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream without limits, and the place that it holds.
    #[must_use]
    pub fn into_parts(self) -> (S, Option<OwnedSemaphorePermit>) {
        (self.stream, self.place)
    }

    /// What goes on above it.
    #[must_use]
    pub fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    #[must_use]
    pub fn patience(&self) -> Patience {
        self.patience
    }

    fn is_beyond_http(&self) -> bool {
        self.activity.beyond_http.load(Ordering::Relaxed)
    }

    fn wait_for(&mut self, what: Awaiting, limit: Duration) {
        self.awaiting = what;
        self.reading.as_mut().reset(Instant::now() + limit);
    }

    /// Notices what has happened above since the last look.
    fn catch_up(&mut self) {
        let begun = self.activity.begun.load(Ordering::Relaxed);
        let answering = self.activity.open.load(Ordering::Relaxed) > 0 || self.unflushed;
        if answering || self.is_beyond_http() {
            self.awaiting = Awaiting::Answer;
        } else if self.awaiting == Awaiting::Answer || begun != self.seen {
            self.wait_for(Awaiting::Request, self.patience.idle);
        }
        self.seen = begun;
    }

    /// The first byte after a rest begins a head.
    fn received(&mut self) {
        if self.awaiting == Awaiting::Request {
            self.wait_for(Awaiting::Head, self.patience.head);
        }
    }

    fn too_long(&mut self, context: &mut Context<'_>) -> bool {
        self.awaiting != Awaiting::Answer && self.reading.as_mut().poll(context).is_ready()
    }

    /// The other side has ended; hides that for as long as an answer is on its way to it.
    fn end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answering = self.awaiting == Awaiting::Answer || self.unflushed;
        if answering && !self.is_beyond_http() && self.activity.half_close.is_allowed() {
            let sleep = || Box::pin(sleep_until(Instant::now() + AFTER_END));
            ready!(self.ended.get_or_insert_with(sleep).as_mut().poll(context));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.catch_up();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        match read {
            Poll::Pending if this.too_long(context) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.received();
                read
            }
            Poll::Ready(Ok(())) if buffer.remaining() > 0 => this.end(context),
            _ => read,
        }
    }
}

impl<S: Held> Patient<S> {
    /// `result`, or the end of our patience with a reader that takes nothing.
    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.unflushed = true;
        match (&result, self.patience.stall) {
            (Poll::Pending, _) if self.stream.is_held_up_elsewhere() => {
                self.writing = None;
                result
            }
            (Poll::Pending, Some(limit)) if !self.is_beyond_http() => {
                let sleep = self.writing.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
                ready!(sleep.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            _ => {
                self.writing = None;
                if let Some(ended) = &mut self.ended {
                    ended.as_mut().reset(Instant::now() + AFTER_END);
                }
                result
            }
        }
    }
}

impl<S: AsyncWrite + Held + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        if std::mem::take(&mut this.unflushed) && this.ended.is_some() {
            // The end that was hidden can be seen now.
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(120);
    const STALL: Duration = Duration::from_secs(30);

    impl Held for DuplexStream {
        fn is_held_up_elsewhere(&self) -> bool {
            false
        }
    }

    fn connection() -> (DuplexStream, Patient<DuplexStream>, Arc<Activity>) {
        let (theirs, ours) = duplex(64);
        let stream = Patient::new(ours, Patience { head: HEAD, idle: IDLE, stall: Some(STALL) });
        let activity = stream.activity();
        (theirs, stream, activity)
    }

    /// How long a read of one byte waits before it fails.
    async fn gives_up_after(stream: &mut Patient<DuplexStream>) -> Duration {
        let start = Instant::now();
        let error = stream.read_u8().await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        start.elapsed().round()
    }

    trait Round {
        fn round(self) -> Duration;
    }

    impl Round for Duration {
        /// The timer is exact to a millisecond.
        fn round(self) -> Duration {
            Duration::from_secs(self.as_secs_f64().round() as u64)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_has_the_time_of_a_head() {
        let (mut theirs, mut stream, _) = connection();
        theirs.write_all(b"G").await.expect("written");
        stream.read_u8().await.expect("read");
        assert_eq!(gives_up_after(&mut stream).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_for_ever_and_a_rest_long() {
        let (mut theirs, mut stream, activity) = connection();
        let busy = activity.begin();
        let waited = tokio::time::timeout(Duration::from_secs(86_400), stream.read_u8()).await;
        assert!(waited.is_err(), "no limit while a request is answered");
        drop(busy);
        assert_eq!(gives_up_after(&mut stream).await, IDLE);
        theirs.write_all(b"G").await.expect("written");
    }

    #[tokio::test(start_paused = true)]
    async fn no_rest_begins_before_the_last_of_an_answer_was_taken() {
        let (_theirs, mut stream, activity) = connection();
        let busy = activity.begin();
        stream.write_all(b"answer").await.expect("taken");
        drop(busy);
        let waited = tokio::time::timeout(IDLE * 2, stream.read_u8()).await;
        assert!(waited.is_err(), "the rest of the answer is above still");
        stream.flush().await.expect("taken");
        assert_eq!(gives_up_after(&mut stream).await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_after_a_rest_has_its_own_time() {
        let (mut theirs, mut stream, activity) = connection();
        drop(activity.begin());
        let rested = tokio::time::timeout(IDLE / 2, stream.read_u8()).await;
        assert!(rested.is_err());
        theirs.write_all(b"G").await.expect("written");
        stream.read_u8().await.expect("read");
        assert_eq!(gives_up_after(&mut stream).await, HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_left() {
        let (_theirs, mut stream, _) = connection();
        let start = Instant::now();
        let error = stream.write_all(&[0; 100]).await.expect_err("64 fit");
        assert_eq!((error.kind(), start.elapsed().round()), (io::ErrorKind::TimedOut, STALL));
    }

    /// Takes nothing, and blames another for it.
    #[derive(Debug)]
    struct Dry;

    impl Held for Dry {
        fn is_held_up_elsewhere(&self) -> bool {
            true
        }
    }

    impl AsyncWrite for Dry {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_not_left_for_what_it_could_not_take_yet() {
        let mut stream = Patient::new(Dry, Patience { head: HEAD, idle: IDLE, stall: Some(STALL) });
        let waited = tokio::time::timeout(Duration::from_secs(86_400), stream.write_all(b"answer")).await;
        assert!(waited.is_err(), "no limit while there is nothing for it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_left_http_may_rest_and_stall() {
        let (theirs, mut stream, activity) = connection();
        activity.begin().leaves_http();
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, stream.read_u8()).await.is_err(), "no limit of ours");
        assert!(tokio::time::timeout(day, stream.write_all(&[0; 100])).await.is_err(), "no limit of ours");
        drop(theirs);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_has_ended_may_wait_for_its_answer() {
        let (mut theirs, mut stream, activity) = connection();
        let busy = activity.begin();
        theirs.shutdown().await.expect("ended");
        assert_eq!(stream.read(&mut [0]).await.expect("the end"), 0);
        activity.half_close().allow();
        let start = Instant::now();
        let hidden = tokio::time::timeout(AFTER_END / 2, stream.read_u8()).await;
        assert!(hidden.is_err(), "the end is hidden");
        stream.write_all(b"answer").await.expect("taken");
        stream.flush().await.expect("taken");
        assert_eq!(stream.read(&mut [0]).await.expect("the end"), 0);
        assert_eq!(start.elapsed().round(), AFTER_END / 2 + AFTER_END);
        stream.write_all(b"last").await.expect("taken");
        drop(busy);
        assert!(tokio::time::timeout(AFTER_END / 2, stream.read_u8()).await.is_err(), "hidden until it is flushed");
        stream.flush().await.expect("taken");
        assert_eq!(stream.read(&mut [0]).await.expect("the end"), 0);
    }
}
