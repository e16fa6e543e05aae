//! Bytes in both directions between two sockets. A stream of many goes from one to the other within the kernel.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::{Interest, ReadBuf};

use super::Socket;
use super::pipe::{CAPACITY, Pipe};

/// Read at once, onto the stack: a connection at rest holds no buffer.
const CHUNK: usize = 32 << 10;

/// So many full chunks in a row are the beginning of a long stream, for which a pipe is worth its cost.
const LONG: u32 = 8;

/// One of the two connections.
#[derive(Debug)]
pub struct Side {
    pub socket: Socket,
    /// What was read of it already.
    pub first: Bytes,
}

/// Passes bytes on until both directions have ended. The end of one is passed on and leaves the other open.
///
/// # Errors
/// When either side fails.
pub async fn both_ways(one: Side, other: Side) -> io::Result<()> {
    let (mut there, mut back) = (Direction::begin(one.first), Direction::begin(other.first));
    let (one, other) = (one.socket, other.socket);
    poll_fn(|context| {
        let there = there.poll(context, &one, &other)?;
        let back = back.poll(context, &other, &one)?;
        if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// One direction. What was read and could not be written yet waits here, and nothing more is read meanwhile.
#[derive(Debug, Default)]
struct Direction {
    waiting: Bytes,
    /// Full chunks in a row.
    full: u32,
    pipe: Option<Pipe>,
    ended: bool,
    done: bool,
}

impl Direction {
    fn begin(waiting: Bytes) -> Self {
        Self { waiting, ..Self::default() }
    }

    fn poll(&mut self, context: &mut Context<'_>, from: &Socket, to: &Socket) -> Poll<io::Result<()>> {
        while !self.done {
            // A stream that never rests must not keep a thread of the runtime for itself.
            let coop = ready!(tokio::task::coop::poll_proceed(context));
            ready!(self.pass_on(context, to))?;
            if self.ended {
                end(to)?;
                self.done = true;
            } else if let Some(pipe) = &mut self.pipe {
                self.ended = ready!(pipe.poll_fill(context, from, CAPACITY))? == 0;
            } else {
                ready!(self.read(context, from, to))?;
            }
            coop.made_progress();
        }
        Poll::Ready(Ok(()))
    }

    fn pass_on(&mut self, context: &mut Context<'_>, to: &Socket) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(to.poll(context, Interest::WRITABLE, |to| nix::unistd::write(to, &self.waiting)))?;
            drop(self.waiting.split_to(written.min(self.waiting.len())));
        }
        // So that the memory is given back.
        self.waiting = Bytes::new();
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.filled() > 0) {
            ready!(pipe.poll_drain(context, to, CAPACITY))?;
        }
        Poll::Ready(Ok(()))
    }

    fn read(&mut self, context: &mut Context<'_>, from: &Socket, to: &Socket) -> Poll<io::Result<()>> {
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        let read = ready!(
            from.poll(context, Interest::READABLE, |from| { nix::unistd::read(from, chunk.initialize_unfilled()) })
        )?;
        chunk.advance(read);
        let mut rest = chunk.filled();
        self.ended = rest.is_empty();
        self.full = if read == CHUNK { self.full + 1 } else { 0 };
        if self.full >= LONG {
            // Without one it goes on as before.
            self.pipe = Pipe::new().ok();
            self.full = 0;
        }
        while !rest.is_empty() {
            match to.poll(context, Interest::WRITABLE, |to| nix::unistd::write(to, rest))? {
                Poll::Ready(count) => rest = rest.get(count..).unwrap_or_default(),
                Poll::Pending => {
                    self.waiting = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A side that has gone altogether need not be told.
fn end(to: &Socket) -> io::Result<()> {
    match shutdown(std::os::fd::AsRawFd::as_raw_fd(&to.as_fd()), Shutdown::Write) {
        Err(error) if error != nix::errno::Errno::ENOTCONN => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::task::JoinHandle;

    use super::*;

    async fn tcp() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.expect("connected"), theirs.expect("accepted").0)
    }

    /// A client on a Unix socket and a program on TCP, with the pump between them.
    async fn pumped(first: &'static [u8]) -> (UnixStream, TcpStream, JoinHandle<io::Result<()>>) {
        let (client, one) = UnixStream::pair().expect("a pair");
        let (other, program) = tcp().await;
        let one = Side { socket: Socket::Unix(one), first: Bytes::from_static(first) };
        let other = Side { socket: Socket::Tcp(other), first: Bytes::new() };
        (client, program, tokio::spawn(both_ways(one, other)))
    }

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut client, mut program, pump) = pumped(b"first ").await;
        client.write_all(b"ask").await.expect("sent");
        client.shutdown().await.expect("ended");
        let mut heard = Vec::new();
        program.read_to_end(&mut heard).await.expect("heard");
        assert_eq!(heard, b"first ask");
        program.write_all(b"answer after the end of the question").await.expect("sent");
        drop(program);
        heard.clear();
        client.read_to_end(&mut heard).await.expect("heard");
        assert_eq!(heard, b"answer after the end of the question");
        pump.await.expect("joined").expect("in order");
    }

    #[tokio::test]
    async fn much_passes_in_order_both_ways_at_once() {
        let (mut client, mut program, pump) = pumped(b"").await;
        let sent: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_program, mut to_program) = program.split();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let sending = |sent: Vec<u8>| sent;
        let (up, down) = (sending(sent.clone()), sending(sent.clone()));
        tokio::join!(
            async {
                to_client.write_all(&up).await.expect("sent");
                to_client.shutdown().await.expect("ended");
            },
            async {
                to_program.write_all(&down).await.expect("sent");
                to_program.shutdown().await.expect("ended");
            },
            async { from_client.read_to_end(&mut back).await.expect("heard") },
            async { from_program.read_to_end(&mut there).await.expect("heard") },
        );
        assert!(there == sent && back == sent);
        pump.await.expect("joined").expect("in order");
    }

    #[tokio::test]
    async fn a_reader_that_is_slow_holds_up_the_writer() {
        let (mut client, mut program, pump) = pumped(b"").await;
        let mut sent = 0;
        loop {
            let write = tokio::time::timeout(std::time::Duration::from_millis(200), program.write(&[7; 1 << 16]));
            match write.await {
                Ok(written) => sent += written.expect("written"),
                Err(_) => break,
            }
            assert!(sent < 64 << 20, "nothing holds it up");
        }
        drop(program);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.expect("heard");
        assert_eq!(heard.len(), sent);
        drop(client);
        pump.await.expect("joined").expect("in order");
    }

    #[tokio::test]
    async fn a_side_that_fails_ends_both() {
        let (client, mut program, pump) = pumped(b"").await;
        drop(client);
        while program.write_all(&[0; 1000]).await.is_ok() {}
        assert!(pump.await.expect("joined").is_err());
    }
}
