//! Connections: taken from a listener, answered by the API's router, ended in order when the daemon stops.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tower::Service;
use tracing::{debug, warn};

use super::listen::Listener;
use super::patience::{Busy, Patience, Patient};
use crate::api::{Apart, Peer, Socket, TakeApart, Wire};

/// Clients keep connections for 30 s and more and expect them to work; 180 s is more than any of them waits.
const IDLE: Duration = Duration::from_secs(180);
const HEAD: Duration = Duration::from_secs(10);
/// Only for TCP: who may use the socket may also be slow, as `logs -f` into a pager is.
const STALL: Duration = Duration::from_secs(30);
/// Seconds of silence after which TCP asks whether the other side is there still.
const KEEP_ALIVE: u32 = 60;

/// A request's line and headers; far more than any client of the API sends.
const LARGEST_HEAD: usize = 32 << 10;
const MOST_HEADERS: usize = 100;
/// Bounds what one connection holds in memory; larger makes an import no faster.
const BUFFER: usize = 256 << 10;

/// Time for requests that are being answered when the daemon is told to stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Said to a connection beyond the bound, without having read anything of it.
const FULL: &str =
    r#"{"code":"SERVER::TOO_MANY_CONNECTIONS","message":"The server has too many connections. Try again."}"#;

/// One door and what answers behind it.
#[derive(Debug)]
pub struct Door {
    pub listener: Listener,
    pub router: Router,
    pub max_connections: usize,
}

/// Serves until `stop` says so, then finishes what is being answered.
pub async fn serve(door: Door, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    // A place is taken for as long as the stream is open, also when it has left HTTP behind.
    let places = Arc::new(Semaphore::new(door.max_connections));
    let stall = if door.listener.is_unix() { None } else { Some(STALL) };
    let patience = Patience { head: HEAD, idle: IDLE, stall };
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            stream = accept(&door.listener) => match (stream, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, peer)), Ok(place)) => {
                    let patient = Patient::new(Wire::new(stream), patience).holding(place);
                    drop(connections.spawn(converse(patient, peer, door.router.clone(), stop.clone())));
                }
                (Ok((stream, _)), Err(_)) => turn_away(stream),
                (Err(error), _) => pause_after(&error).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    // Nobody is let in any more, and the file of the socket goes before the last answers do.
    drop(door.listener);
    let farewell = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} });
    if farewell.await.is_err() {
        debug!(connections = connections.len(), "connections were cut at the end of the time to finish");
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell is gone, which is the same.
    drop(stop.wait_for(|stop| *stop).await);
}

/// A connection of [`converse`] that has left HTTP. The limits of time are over for it.
fn take_apart(upgraded: Upgraded) -> Result<Apart, Upgraded> {
    let parts = upgraded.downcast::<TokioIo<Patient<Wire>>>()?;
    let (wire, place) = parts.io.into_inner().into_parts();
    Ok(Apart { socket: wire.into_socket(), first: parts.read_buf, rest: Box::new(place) })
}

async fn accept(listener: &Listener) -> io::Result<(Socket, Option<Peer>)> {
    match listener {
        Listener::Unix { listener, .. } => Ok((Socket::Unix(listener.accept().await?.0), None)),
        Listener::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            // Answers are small and complete; to wait for more to send with them would cost 40 ms.
            stream.set_nodelay(true)?;
            // An upgraded connection may rest for days; whoever is gone without a word must be noticed all the same.
            setsockopt(&stream, sockopt::KeepAlive, &true)?;
            setsockopt(&stream, sockopt::TcpKeepIdle, &KEEP_ALIVE)?;
            Ok((Socket::Tcp(stream), Some(Peer(from.ip()))))
        }
    }
}

/// A connection that ended before it was taken is nobody's problem. Anything else (no descriptor, no memory) passes with
/// time, and to try again at once would only burn a processor.
async fn pause_after(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        warn!(%error, "a connection could not be accepted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Says in the time of one write that there is no room.
fn turn_away(mut stream: Socket) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{FULL}",
        FULL.len()
    );
    let mut context = Context::from_waker(std::task::Waker::noop());
    // The send buffer of a new connection takes it whole; if not, the end of the connection says as much.
    drop(pin!(stream.write_all(answer.as_bytes())).poll(&mut context));
}

/// Answers the requests of one connection.
async fn converse(stream: Patient<Wire>, peer: Option<Peer>, router: Router, mut stop: watch::Receiver<bool>) {
    let (activity, stall, bypass) = (stream.activity(), stream.patience().stall, stream.stream().bypass());
    let io = TokioIo::new(stream);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(activity.half_close());
        request.extensions_mut().insert(TakeApart(take_apart));
        request.extensions_mut().insert(bypass.clone());
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        answer(router.clone(), request, activity.begin(), stall)
    });
    let connection = http1::Builder::new()
        // `Patient` keeps the times.
        .header_read_timeout(None)
        .max_headers(MOST_HEADERS)
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(BUFFER)
        // The stand-ins of a bypass must not be copied.
        .writev(true)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended badly");
    }
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    busy: Busy,
    stall: Option<Duration>,
) -> Result<Response<Body>, Infallible> {
    let request = request.map(|body| Body::new(Arriving { body, limit: stall, sleep: None }));
    let response = router.call(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        busy.leaves_http();
    }
    // The answer is not over before its last byte was taken.
    Ok(response.map(|body| Body::new(body.map_frame(move |frame| keep(&busy, frame)))))
}

fn keep(_: &Busy, frame: Frame<hyper::body::Bytes>) -> Frame<hyper::body::Bytes> {
    frame
}

/// The body of a request, which fails when its sender stalls.
struct Arriving {
    body: Incoming,
    limit: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Arriving {
    type Data = hyper::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        match (Pin::new(&mut this.body).poll_frame(context), this.limit) {
            (Poll::Pending, Some(limit)) => {
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
                let stalled = axum::Error::new(io::Error::from(io::ErrorKind::TimedOut));
                sleep.as_mut().poll(context).map(|()| Some(Err(stalled)))
            }
            (frame, _) => {
                this.sleep = None;
                frame.map_err(axum::Error::new)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
