//! One pull: from the name to the image in the store.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Inner;
use super::state::{Fetched, PullState};
use crate::image::import::remote::{self, Described, INDEX_DEPTH, Manifest, Open};
use crate::image::registry::{BlobReader, Credentials, Session, Wanted};
use crate::image::turns::Turn;
use crate::image::{Digest, Image, ImageError, Progress, Reference};

/// Often enough for eyes.
const TELL: Duration = Duration::from_millis(100);

type Tell = watch::Sender<PullState>;

/// What the registry says that the image is.
struct Found {
    session: Arc<Session>,
    index: Option<Digest>,
    described: Described,
}

pub(super) async fn fetch(
    inner: &Arc<Inner>,
    name: &Reference,
    credentials: Option<Credentials>,
    stop: watch::Receiver<()>,
    tell: &Tell,
) -> Result<Arc<Image>, ImageError> {
    // It comes as long as there is a puller; without a turn it would only be more at once.
    let turn = inner.pulls.ask(name.host(), 1).await.ok();
    tell.send_replace(PullState::Resolving);
    let found = describe(inner, name, credentials).await?;
    let (inner, name, told) = (Arc::clone(inner), name.clone(), tell.clone());
    let runtime = Handle::current();
    let bring_in = move || {
        let _turn = turn;
        let Found { session, index, described } = found;
        let progress = Teller::new(told);
        let open = |blob: &remote::Blob| -> Open<'static> {
            let reader = BlobReader::new(Arc::clone(&session), runtime.clone(), stop.clone(), blob.digest, blob.size);
            let (layers, host) = (inner.layers.clone(), name.host().to_owned());
            Box::new(move || Box::new(Held { reader, _turn: layers.ask(&host, 1).blocking_recv().ok() }))
        };
        inner.store.bring_in(&name, index, described, open, &progress)
    };
    let done = tokio::task::spawn_blocking(bring_in).await;
    done.unwrap_or_else(|fault| Err(ImageError::io("pull the image", io::Error::other(fault))))
}

/// A layer that has its turn.
struct Held {
    reader: BlobReader,
    _turn: Option<Turn>,
}

impl io::Read for Held {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }
}

/// From the mirrors in their order, then from the registry; the last failure is what is told.
async fn describe(inner: &Arc<Inner>, name: &Reference, credentials: Option<Credentials>) -> Result<Found, ImageError> {
    for mirror in Session::mirrors(&inner.transport, name).await {
        let host = mirror.host();
        match describe_by(inner, name, mirror).await {
            Ok(described) => return Ok(described),
            Err(error) => {
                tracing::info!(mirror = host, error = crate::model::with_causes(&error), "a mirror was no help")
            }
        }
    }
    let session = Session::of(&inner.transport, name, credentials).await;
    describe_by(inner, name, session).await
}

async fn describe_by(inner: &Arc<Inner>, name: &Reference, session: Session) -> Result<Found, ImageError> {
    let limits = inner.store.limits();
    let mut wanted = match (name.digest(), name.tag()) {
        (Some(digest), _) => Wanted::Manifest(digest),
        (None, tag) => Wanted::Tagged(tag.unwrap_or("latest").to_owned()),
    };
    let mut index = None;
    for _ in 0..=INDEX_DEPTH {
        let document = session.document(&wanted, limits.manifest_bytes).await?;
        let digest = document.digest;
        let manifest = remote::read(&document.bytes, digest, document.media_type.as_deref(), name, limits)?;
        // Whoever keeps a large one while asking for the next waits for others that do the same.
        drop(document);
        match manifest {
            Manifest::Index(next) => {
                index = index.or(Some(digest));
                wanted = Wanted::Manifest(next);
            }
            Manifest::Image(parts) => {
                let config = session.document(&Wanted::Blob(parts.config), limits.config_bytes).await?;
                let described = remote::described(parts, &config.bytes, limits)?;
                return Ok(Found { session: Arc::new(session), index, described });
            }
        }
    }
    Err(ImageError::bad("the image index", "indexes are nested too deep"))
}

/// Passes progress on, not more often than anybody looks.
struct Teller {
    tell: Tell,
    fetched: std::sync::Mutex<(Fetched, Option<Instant>)>,
}

impl Teller {
    fn new(tell: Tell) -> Self {
        Self { tell, fetched: std::sync::Mutex::default() }
    }

    fn update(&self, change: impl FnOnce(&mut Fetched), at_once: bool) {
        let mut fetched = self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut fetched.0);
        if at_once || fetched.1.is_none_or(|told| told.elapsed() >= TELL) {
            fetched.1 = Some(Instant::now());
            self.tell.send_replace(PullState::Fetching(fetched.0));
        }
    }
}

impl Progress for Teller {
    fn phase(&self, text: &str) {
        if text.starts_with("writing") {
            self.tell.send_replace(PullState::Writing);
        }
    }

    fn advance(&self, done: u64, total: u64) {
        let change = |fetched: &mut Fetched| {
            fetched.bytes = fetched.bytes.max(done);
            fetched.bytes_total = total;
        };
        self.update(change, false);
    }

    fn layers(&self, done: usize, total: usize) {
        let change = |fetched: &mut Fetched| {
            fetched.layers = fetched.layers.max(done);
            fetched.layers_total = total;
        };
        self.update(change, true);
    }
}
