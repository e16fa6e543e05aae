//! Long answers of a known length, whose bytes go from the sandbox's socket to the client's without coming into this process.
//!
//! The HTTP library still says where an answer begins and ends, and when its next bytes may go. What it gets of such an answer
//! are stand-ins: as many bytes as it has, without content and without waiting for them. It hands them down as they are, in the list of buffers
//! of a `writev(2)`, and the stream below knows them by their address and passes on as many of the sandbox's in their place. So
//! it is the stream alone that waits, for the one side or the other.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Socket;
use super::passing::Left;
use super::pipe::{CAPACITY, Pipe};

/// What may wait at a client's socket for being read: with the usual 208 KiB, both sides wait for each other most of the time.
const WAITING: usize = 2 * CAPACITY;

/// Never read: only its address counts.
static STAND_IN: [u8; CAPACITY] = [0; CAPACITY];

fn is_stand_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// Belongs to one connection of a client, and comes with each of its requests.
#[derive(Debug, Clone, Default)]
pub struct Bypass(Arc<Mutex<Option<Flow>>>);

impl Bypass {
    fn lock(&self) -> MutexGuard<'_, Option<Flow>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no answer takes this way.
    #[cfg(test)]
    pub fn is_free(&self) -> bool {
        self.lock().is_none()
    }

    fn begin(&self, flow: Flow) -> io::Result<()> {
        let mut way = self.lock();
        if way.is_some() {
            return Err(io::Error::other("the answer before is not through"));
        }
        *way = Some(flow);
        Ok(())
    }

    /// Gives at most so many bytes to the client. A connection that goes on keeps nothing of what is over.
    fn poll_pass(&self, context: &mut Context<'_>, to: &Socket, most: usize) -> Poll<io::Result<usize>> {
        let mut way = self.lock();
        let flow = way.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        let given = ready!(flow.poll(context, to, most))?;
        if flow.rest == 0 {
            *way = None;
        }
        Poll::Ready(Ok(given))
    }
}

/// What flows from the sandbox to the client.
struct Flow {
    from: Socket,
    pipe: Pipe,
    /// Bytes that the client has not got yet.
    rest: u64,
    /// Nothing has come of the sandbox, and it is waited for.
    is_dry: bool,
    left: Left,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("from", &self.from).field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl Flow {
    /// Breaks off when the sandbox ends, whoever is waited for.
    fn poll(&mut self, context: &mut Context<'_>, to: &Socket, most: usize) -> Poll<io::Result<usize>> {
        let given = self.poll_give(context, to, most);
        if given.is_pending() {
            ready!(self.left.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::other("the sandbox has ended")));
        }
        given
    }

    fn poll_give(&mut self, context: &mut Context<'_>, to: &Socket, most: usize) -> Poll<io::Result<usize>> {
        if self.pipe.filled() == 0 {
            let rest = usize::try_from(self.rest).unwrap_or(usize::MAX);
            let filled = self.pipe.poll_fill(context, &self.from, rest);
            self.is_dry = filled.is_pending();
            if ready!(filled)? == 0 {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
        }
        let given = ready!(self.pipe.poll_drain(context, to, most))?;
        self.rest = self.rest.saturating_sub(given as u64);
        Poll::Ready(Ok(given))
    }
}

/// A stream whose writer may have to wait for something else than for its reader.
pub trait Held {
    fn is_held_up_elsewhere(&self) -> bool;
}

/// A client's socket on which stand-ins become what they stand for.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    bypass: Bypass,
    is_wide: bool,
}

impl Held for Wire {
    fn is_held_up_elsewhere(&self) -> bool {
        self.bypass.lock().as_ref().is_some_and(|flow| flow.is_dry)
    }
}

impl Wire {
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self { socket, bypass: Bypass::default(), is_wide: false }
    }

    /// A socket of TCP finds its size by itself.
    fn widen(&mut self) {
        if !std::mem::replace(&mut self.is_wide, true) && matches!(self.socket, Socket::Unix(_)) {
            // Where it is not allowed, it only takes longer.
            setsockopt(&self.socket, sockopt::SndBufForce, &WAITING).unwrap_or_default();
        }
    }

    #[must_use]
    pub fn bypass(&self) -> Bypass {
        self.bypass.clone()
    }

    #[must_use]
    pub fn into_socket(self) -> Socket {
        self.socket
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().position(|slice| is_stand_in(slice));
        // What comes before it goes first.
        let before = slices.get(..first.unwrap_or(slices.len())).unwrap_or_default();
        match first.and_then(|first| slices.get(first)) {
            Some(stand_in) if before.iter().all(|slice| slice.is_empty()) => {
                self.widen();
                self.bypass.poll_pass(context, &self.socket, stand_in.len())
            }
            _ => Pin::new(&mut self.socket).poll_write_vectored(context, before),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// The body of an answer that takes this way.
#[derive(Debug)]
pub struct Around {
    /// What was read of it already.
    first: VecDeque<Bytes>,
    /// Bytes for which no stand-ins were given out yet.
    unsaid: u64,
    /// What they stand for. On its way from the first of them on.
    flow: Option<Flow>,
    by: Bypass,
}

impl Around {
    /// A body of so many bytes, of which `first` were read already and the others come from a socket. It breaks off when `left`
    /// is over.
    pub fn new(length: u64, mut first: VecDeque<Bytes>, (from, pipe): (Socket, Pipe), by: Bypass, left: Left) -> Self {
        let mut rest = length;
        for piece in &mut first {
            // What a server sends beyond the length that it told is not of this answer.
            piece.truncate(usize::try_from(rest).unwrap_or(usize::MAX));
            rest = rest.saturating_sub(piece.len() as u64);
        }
        first.retain(|piece| !piece.is_empty());
        Self { first, unsaid: rest, flow: Some(Flow { from, pipe, rest, is_dry: false, left }), by }
    }
}

impl HttpBody for Around {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.unsaid == 0 {
            return Poll::Ready(None);
        }
        if let Some(flow) = self.flow.take() {
            self.by.begin(flow)?;
        }
        let said = STAND_IN.get(..usize::try_from(self.unsaid).unwrap_or(usize::MAX)).unwrap_or(&STAND_IN);
        self.unsaid = self.unsaid.saturating_sub(said.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(said)))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.unsaid == 0
    }

    fn size_hint(&self) -> SizeHint {
        let first: u64 = self.first.iter().map(|piece| piece.len() as u64).sum();
        SizeHint::with_exact(first.saturating_add(self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response, body::Incoming};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    use super::*;

    const LENGTH: usize = 4_000_003;

    async fn tcp() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.expect("connected"), theirs.expect("accepted").0)
    }

    fn content() -> Vec<u8> {
        (0..LENGTH as u32).map(|number| (number % 251) as u8 + 1).collect()
    }

    /// Answers every request on `wire` with a body from a program that sends `sent` of the content after its first bytes.
    fn serve(wire: Wire, sent: usize) -> tokio::task::JoinHandle<hyper::Result<()>> {
        let bypass = wire.bypass();
        let service = service_fn(move |_: Request<Incoming>| {
            let by = bypass.clone();
            async move {
                let (ours, mut program) = tcp().await;
                let first: VecDeque<Bytes> = [Bytes::copy_from_slice(&content()[..1000]), Bytes::new()].into();
                tokio::spawn(async move { program.write_all(&content()[1000..sent]).await });
                let from = (Socket::Tcp(ours), Pipe::new().expect("a pipe"));
                let left = Box::pin(std::future::pending());
                Ok::<_, Infallible>(Response::new(Around::new(LENGTH as u64, first, from, by, left)))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(wire), service))
    }

    /// Reads one answer to its end, which its head tells.
    async fn answer(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> (String, Vec<u8>) {
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("asked");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("a head"));
        }
        let mut body = Vec::new();
        client.take(LENGTH as u64).read_to_end(&mut body).await.expect("a body");
        (String::from_utf8(head).expect("text"), body)
    }

    #[tokio::test]
    async fn one_answer_after_the_other_comes_as_it_was_sent() {
        let (mut by_unix, ours) = UnixStream::pair().expect("a pair");
        let wire = Wire::new(Socket::Unix(ours));
        let bypass = wire.bypass();
        serve(wire, LENGTH);
        let (mut by_tcp, ours) = tcp().await;
        serve(Wire::new(Socket::Tcp(ours)), LENGTH);
        for _ in 0..2 {
            for (head, body) in [answer(&mut by_unix).await, answer(&mut by_tcp).await] {
                assert!(head.contains(&format!("content-length: {LENGTH}\r\n")), "{head}");
                assert!(body == content(), "another content");
            }
        }
        assert!(bypass.is_free(), "a connection at rest has no pipe");
    }

    #[tokio::test]
    async fn an_answer_that_ends_too_early_ends_the_connection() {
        let (mut client, ours) = UnixStream::pair().expect("a pair");
        let served = serve(Wire::new(Socket::Unix(ours)), LENGTH / 2);
        let (_, body) = answer(&mut client).await;
        assert!(body.len() < LENGTH && content().starts_with(&body), "{} bytes", body.len());
        assert!(served.await.expect("joined").is_err());
    }

    #[tokio::test]
    async fn it_is_known_which_side_is_waited_for() {
        let (from, mut program) = tcp().await;
        let (_client, ours) = UnixStream::pair().expect("a pair");
        let mut wire = Wire::new(Socket::Unix(ours));
        let (from, pipe, left) = (Socket::Tcp(from), Pipe::new().expect("a pipe"), Box::pin(std::future::pending()));
        wire.bypass().begin(Flow { from, pipe, rest: u64::MAX, is_dry: false, left }).expect("free");
        let mut write = async |is_dry| {
            std::future::poll_fn(|context| match Pin::new(&mut wire).poll_write(context, &STAND_IN) {
                Poll::Pending if wire.is_held_up_elsewhere() == is_dry => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
                Poll::Ready(given) => {
                    assert_ne!(given.expect("given"), 0);
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
        };
        write(true).await;
        tokio::spawn(async move { while program.write_all(&content()).await.is_ok() {} });
        write(false).await;
    }

    #[tokio::test]
    async fn what_comes_beyond_the_length_is_not_of_the_answer() {
        let (ours, _program) = tcp().await;
        let first = [Bytes::from_static(b"answer and more"), Bytes::from_static(b"more")].into();
        let from = (Socket::Tcp(ours), Pipe::new().expect("a pipe"));
        let body = Around::new(6, first, from, Bypass::default(), Box::pin(std::future::pending()));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(body.first, [Bytes::from_static(b"answer")]);
    }
}
