//! Bytes in both directions.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at once, onto the stack: a connection at rest holds no buffer.
const CHUNK: usize = 32 << 10;

/// Copies until both directions have ended. The end of one is passed on and leaves the other open.
///
/// # Errors
/// When either side fails.
pub async fn both_ways<A, B>(mut one: A, mut other: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (Direction::default(), Direction::default());
    poll_fn(|context| {
        let there = there.poll(context, &mut one, &mut other)?;
        let back = back.poll(context, &mut other, &mut one)?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// One direction. What was read and could not be written yet waits here, and nothing more is read meanwhile.
#[derive(Debug, Default)]
struct Direction {
    waiting: Vec<u8>,
    written: usize,
    ended: bool,
    done: bool,
}

impl Direction {
    fn poll<R, W>(&mut self, context: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.done {
            // A stream that never rests must not keep a thread of the runtime for itself.
            let coop = ready!(tokio::task::coop::poll_proceed(context));
            ready!(self.write_waiting(context, to))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                self.done = true;
            } else {
                ready!(self.read(context, from, to))?;
            }
            coop.made_progress();
        }
        Poll::Ready(Ok(()))
    }

    fn write_waiting(&mut self, context: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let rest = self.waiting.get(self.written..).unwrap_or_default();
            self.written += ready!(write(context, to, rest))?;
        }
        // A new one, so that the memory is given back.
        (self.waiting, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn read<R, W>(&mut self, context: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        if Pin::new(from).poll_read(context, &mut chunk)?.is_pending() {
            // Nothing more to come for now: what was written must not lie about.
            ready!(Pin::new(to).poll_flush(context))?;
            return Poll::Pending;
        }
        let mut rest = chunk.filled();
        self.ended = rest.is_empty();
        while !rest.is_empty() {
            match write(context, to, rest)? {
                Poll::Ready(count) => rest = rest.get(count..).unwrap_or_default(),
                Poll::Pending => {
                    self.waiting = rest.to_vec();
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn write(context: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(context, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        count => Poll::Ready(Ok(count)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut left, one) = duplex(64);
        let (other, mut right) = duplex(64);
        let pumped = tokio::spawn(both_ways(one, other));
        left.write_all(b"ask").await.expect("sent");
        left.shutdown().await.expect("ended");
        let mut heard = Vec::new();
        right.read_to_end(&mut heard).await.expect("heard");
        assert_eq!(heard, b"ask");
        right.write_all(b"answer after the end of the question").await.expect("sent");
        drop(right);
        heard.clear();
        left.read_to_end(&mut heard).await.expect("heard");
        assert_eq!(heard, b"answer after the end of the question");
        pumped.await.expect("joined").expect("in order");
    }

    #[tokio::test]
    async fn much_passes_through_little_room_in_order() {
        let (mut left, one) = duplex(1000);
        let (other, mut right) = duplex(7);
        let pumped = tokio::spawn(both_ways(one, other));
        let sent: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            left.write_all(&sent).await.expect("sent");
            left.shutdown().await.expect("ended");
            left
        });
        let mut heard = Vec::new();
        right.read_to_end(&mut heard).await.expect("heard");
        assert!(heard == expected);
        drop((right, sending.await));
        pumped.await.expect("joined").expect("in order");
    }

    #[tokio::test]
    async fn a_side_that_fails_ends_both() {
        let (left, one) = duplex(64);
        let (other, mut right) = duplex(64);
        let pumped = tokio::spawn(both_ways(one, other));
        drop(left);
        drop(right.write_all(&[0; 1000]).await);
        assert!(pumped.await.expect("joined").is_err());
    }
}
