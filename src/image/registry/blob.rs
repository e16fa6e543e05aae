//! A blob, straight from the socket to whoever reads it, resumed where the connection broke.

use std::io::{self, Read};
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_RANGE;
use hyper::{Response, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::error::{RegistryFailure, failure};
use super::retry;
use super::session::Session;
use crate::image::{Digest, ImageError};

/// Pieces between connection and reader; a piece is what one read of the socket gave, at most a quarter of a megabyte.
const WAITING: usize = 4;

type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// The bytes of a blob for blocking code. The download begins with the first read and ends with the reader; it is no more than
/// the size that was said, and whether it is what was said the reader has to check.
#[derive(Debug)]
pub struct BlobReader {
    start: Option<Start>,
    pieces: Option<mpsc::Receiver<io::Result<Bytes>>>,
    rest: Bytes,
}

#[derive(Debug)]
struct Start {
    session: Arc<Session>,
    runtime: Handle,
    stop: watch::Receiver<()>,
    digest: Digest,
    size: u64,
}

impl BlobReader {
    /// `stop` ends the download when its sender is dropped.
    pub fn new(session: Arc<Session>, runtime: Handle, stop: watch::Receiver<()>, digest: Digest, size: u64) -> Self {
        Self { start: Some(Start { session, runtime, stop, digest, size }), pieces: None, rest: Bytes::new() }
    }
}

impl Read for BlobReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(start) = self.start.take() {
            self.pieces = Some(start.begin());
        }
        while self.rest.is_empty() {
            let Some(pieces) = &mut self.pieces else { return Ok(0) };
            match pieces.blocking_recv() {
                // An empty piece is the end that was meant.
                Some(Ok(piece)) if piece.is_empty() => self.pieces = None,
                Some(piece) => self.rest = piece?,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let taken = self.rest.split_to(into.len().min(self.rest.len()));
        // Both have the same length.
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

impl Start {
    fn begin(self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (pieces, receiver) = mpsc::channel(WAITING);
        let Self { session, runtime, mut stop, digest, size } = self;
        let download = async move {
            let fetched = tokio::select! {
                fetched = fetch(&session, digest, size, &pieces) => fetched,
                _ = stop.changed() => return,
                () = pieces.closed() => return,
            };
            let last = fetched.map(|()| Bytes::new()).map_err(io::Error::from);
            // A reader that has gone does not want it.
            drop(pieces.send(last).await);
        };
        drop(runtime.spawn(download));
        receiver
    }
}

/// How far a download is.
struct Place {
    done: u64,
    size: u64,
    /// Attempts since one brought something worth it.
    failures: u32,
}

async fn fetch(session: &Session, digest: Digest, size: u64, pieces: &Pieces) -> Result<(), ImageError> {
    let mut place = Place { done: 0, size, failures: 0 };
    let what = format!("layer {digest}");
    loop {
        let before = place.done;
        let response = session.get(&format!("blobs/{digest}"), "*/*", place.done, &what).await?;
        let broken = match take(session, response, &mut place, pieces, &what).await? {
            None => return Ok(()),
            Some(problem) => problem,
        };
        // A registry that gives a little each time would otherwise go on for ever.
        let brought = place.done - before >= session.patience().trickle;
        place.failures = if brought { 1 } else { place.failures + 1 };
        if place.failures >= session.patience().tries {
            let problem = format!(
                "{what} broke off {} times in a row, the last time at byte {}: {broken}",
                place.failures, place.done
            );
            return Err(failure(&session.host(), RegistryFailure::Unreachable, problem));
        }
        tracing::debug!(%digest, at = place.done, broken, "a layer is resumed");
        let pause = retry::pause(session.patience(), place.failures - 1, None);
        tokio::time::sleep(pause.unwrap_or_default()).await;
    }
}

/// Passes on what this answer holds; `Some` says why it ended before the blob did.
async fn take(
    session: &Session,
    response: Response<Incoming>,
    place: &mut Place,
    pieces: &Pieces,
    what: &str,
) -> Result<Option<String>, ImageError> {
    let mut skip = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            check_range(session, &response, place, what)?;
            0
        }
        // The whole again: what is here already is passed over. A false byte in it shows in the digest.
        _ => place.done,
    };
    let mut body = response.into_body();
    let patience = *session.patience();
    let (mut window, mut came) = (Instant::now() + patience.window, 0);
    loop {
        let frame = match tokio::time::timeout_at(window, body.frame()).await {
            Err(_) if came < patience.trickle => return Ok(Some("it came too slowly".to_owned())),
            Err(_) => {
                (window, came) = (Instant::now() + patience.window, 0);
                continue;
            }
            Ok(None | Some(Err(_))) if place.done == place.size => return Ok(None),
            Ok(None) => return Ok(Some("it ended too early".to_owned())),
            Ok(Some(Err(error))) => return Ok(Some(error.to_string())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(mut data) = frame.into_data() else { continue };
        came += data.len() as u64;
        let passed = skip.min(data.len() as u64);
        skip -= passed;
        // No more than its length.
        drop(data.split_to(usize::try_from(passed).unwrap_or(data.len())));
        if place.done + data.len() as u64 > place.size {
            let problem = format!("it sends more than the {} bytes that the manifest says of {what}", place.size);
            return Err(session.refused(&problem));
        }
        place.done += data.len() as u64;
        if !data.is_empty() {
            let waited = Instant::now();
            if pieces.send(Ok(data)).await.is_err() {
                return Err(ImageError::io("read the layer", io::Error::from(io::ErrorKind::ConnectionAborted)));
            }
            // That the reader is slow is not the registry's fault.
            window += waited.elapsed();
        }
    }
}

/// A part must be the part that was asked for, of a whole of the right size.
fn check_range(session: &Session, response: &Response<Incoming>, place: &Place, what: &str) -> Result<(), ImageError> {
    let text = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let range = text.strip_prefix("bytes ").and_then(|text| text.split_once('/'));
    let begins = range.and_then(|(range, _)| range.split_once('-')).and_then(|(from, _)| from.parse().ok());
    let whole = range.map(|(_, whole)| whole);
    let size = place.size.to_string();
    if begins == Some(place.done) && whole.is_some_and(|whole| whole == size || whole == "*") {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    Err(session.refused(&format!("asked for {what} from byte {}, it sent the range {shown:?}", place.done)))
}
