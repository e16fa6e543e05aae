//! Bytes in both directions between two sockets. A stream of many goes from one to the other within the kernel.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{AddressFamily, Shutdown, SockaddrLike, SockaddrStorage, getsockname, shutdown};
use nix::unistd::pipe2;
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Read at once, onto the stack: a connection at rest holds no buffer.
const CHUNK: usize = 32 << 10;

/// So many full chunks in a row are the beginning of a long stream, for which a pipe is worth its cost.
const LONG: u32 = 8;

/// What is in the pipe at most. What is in it are pages of the socket, not copies of them.
const PIPE: usize = 512 << 10;

/// One of the two connections.
#[derive(Debug)]
pub struct Side {
    pub socket: Socket,
    /// What was read of it already.
    pub first: Bytes,
}

#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// # Errors
    /// When it is none that streams.
    pub fn of(fd: OwnedFd) -> io::Result<Self> {
        let address: SockaddrStorage = getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd))?;
        match address.family() {
            Some(AddressFamily::Unix) => UnixStream::from_std(StdUnixStream::from(fd)).map(Self::Unix),
            _ => TcpStream::from_std(std::net::TcpStream::from(fd)).map(Self::Tcp),
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>, what: Interest) -> Poll<io::Result<()>> {
        match (self, what.is_readable()) {
            (Self::Tcp(stream), true) => stream.poll_read_ready(context),
            (Self::Tcp(stream), false) => stream.poll_write_ready(context),
            (Self::Unix(stream), true) => stream.poll_read_ready(context),
            (Self::Unix(stream), false) => stream.poll_write_ready(context),
        }
    }

    fn try_io<T>(&self, what: Interest, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(what, call),
            Self::Unix(stream) => stream.try_io(what, call),
        }
    }

    /// Calls as soon as the socket is ready, and again until it was.
    fn poll<T>(
        &self,
        context: &mut Context<'_>,
        what: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> nix::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.poll_ready(context, what))?;
            match self.try_io(what, || Ok(call(self.as_fd())?)) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
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
    pipe: Option<(OwnedFd, OwnedFd)>,
    in_pipe: usize,
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
            } else if let Some((_, into)) = &self.pipe {
                let take = |from: BorrowedFd<'_>| splice(from, None, into, None, PIPE, flags());
                self.in_pipe = ready!(from.poll(context, Interest::READABLE, take))?;
                self.ended = self.in_pipe == 0;
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
        if let Some((out, _)) = &self.pipe {
            while self.in_pipe > 0 {
                let left = self.in_pipe;
                let give = |to: BorrowedFd<'_>| splice(out, None, to, None, left, flags());
                match ready!(to.poll(context, Interest::WRITABLE, give))? {
                    0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                    given => self.in_pipe = left.saturating_sub(given),
                }
            }
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
            self.pipe = pipe().ok();
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

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE
}

fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // A smaller one does as well.
    fcntl(&into, FcntlArg::F_SETPIPE_SZ(i32::try_from(PIPE).unwrap_or(i32::MAX))).unwrap_or_default();
    Ok((out, into))
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
    use tokio::net::TcpListener;
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
        let one = Socket::of(one.into_std().expect("a socket").into()).expect("a socket");
        assert!(matches!(one, Socket::Unix(_)));
        let one = Side { socket: one, first: Bytes::from_static(first) };
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
