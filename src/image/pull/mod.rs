//! Pulling: one download for everybody who wants the same image, given up when nobody does any more.
//!
//! A pull is a task; whoever waits for it holds a [`Pulling`]. The last that is dropped stops the task, and with it the
//! connections and the threads that unpack. What they made goes with them: layers become part of the store only together with
//! the image.

mod fetch;
mod policy;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

pub use self::policy::Policy;
pub use self::state::PullState;
use super::registry::{Credentials, RegistryConfig, Transport};
use super::turns::Turns;
use super::{Image, ImageError, ImageStore, Reference};

/// Pulls at the same time, and layers of all of them; more wait for their turn. A pull costs a few threads, a layer about 3 MiB.
/// No registry gets more than half of what the others leave, so that one that is slow does not hold up the rest.
const PULLS: u64 = 32;
const LAYERS: u64 = 16;

/// What somebody wants to have here.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// As the caller wrote it.
    pub image: String,
    /// For the registry of the image alone.
    pub credentials: Option<Credentials>,
}

/// Who pulls for this store.
#[derive(Debug, Clone)]
pub struct Puller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<ImageStore>,
    transport: Arc<Transport>,
    running: Mutex<HashMap<Key, Weak<Running>>>,
    pulls: Turns,
    layers: Turns,
}

/// Callers with different credentials never share: what one may see, the other may not.
type Key = (Reference, Option<Credentials>);

/// Dropped with the last who waits.
#[derive(Debug)]
struct Running {
    state: watch::Receiver<PullState>,
    /// The downloads end when this is dropped.
    _stop: watch::Sender<()>,
}

/// Somebody's interest in a pull.
#[derive(Debug, Clone)]
pub struct Pulling {
    running: Arc<Running>,
    state: watch::Receiver<PullState>,
}

impl Puller {
    /// Blocks: reads the certificates.
    ///
    /// # Errors
    /// When a file that the configuration names cannot be used.
    pub fn new(store: Arc<ImageStore>, config: RegistryConfig) -> Result<Self, ImageError> {
        store.set_default_registry(&config.default_registry);
        let transport = Arc::new(Transport::new(config)?);
        let (pulls, layers) = (Turns::new(PULLS), Turns::new(LAYERS));
        Ok(Self { inner: Arc::new(Inner { store, transport, running: Mutex::default(), pulls, layers }) })
    }

    /// Joins the pull of this image, or begins one. What is here already does not matter.
    ///
    /// # Errors
    /// When the name is not one that a registry could have.
    pub fn pull(&self, request: &PullRequest) -> Result<Pulling, ImageError> {
        let name = Reference::read(&request.image, &self.inner.transport.config.default_registry)?;
        // A digest alone says what, and not where; and what is built in is nobody's else to give.
        let is_digest = request.image.starts_with("sha256:");
        if is_digest || (name.host() == "docker.io" && name.repository().starts_with("bivouac/")) {
            return Err(ImageError::NotFound { name: request.image.chars().take(300).collect() });
        }
        let key = (name, request.credentials.clone());
        let mut running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, pull| pull.strong_count() > 0);
        let joined = running.get(&key).and_then(Weak::upgrade).filter(|pull| !pull.state.borrow().is_over());
        let pull = joined.unwrap_or_else(|| {
            let begun = Arc::new(self.begin(&key));
            running.insert(key, Arc::downgrade(&begun));
            begun
        });
        let state = pull.state.clone();
        Ok(Pulling { running: pull, state })
    }

    fn begin(&self, (name, credentials): &Key) -> Running {
        let (tell, state) = watch::channel(PullState::Waiting);
        let (stop, stopped) = watch::channel(());
        let inner = Arc::clone(&self.inner);
        let (name, credentials) = (name.clone(), credentials.clone());
        let task = async move {
            let mut gone = stopped.clone();
            let told = tell.clone();
            let work = fetch::fetch(&inner, &name, credentials, stopped, &told);
            let done = tokio::select! {
                done = work => done,
                _ = gone.changed() => return,
            };
            if let Err(error) = &done {
                tracing::info!(image = %name, error = crate::model::with_causes(error), "failed to pull an image");
            }
            tell.send_replace(PullState::over(done));
        };
        drop(tokio::spawn(task));
        Running { state, _stop: stop }
    }
}

impl Pulling {
    /// What the pull does now.
    #[must_use]
    pub fn state(&self) -> PullState {
        self.state.borrow().clone()
    }

    /// Resolves when the state is another than the one that was seen last. Cancel-safe.
    pub async fn changed(&mut self) -> PullState {
        // The task tells how it ended before it does; without that it was interrupted.
        if self.state.changed().await.is_err() && !self.state.borrow().is_over() {
            return PullState::over(Err(ImageError::io(
                "pull the image",
                std::io::Error::from(std::io::ErrorKind::Interrupted),
            )));
        }
        self.state.borrow_and_update().clone()
    }

    /// Waits for the image.
    ///
    /// # Errors
    /// Whatever the pull failed of.
    pub async fn finished(mut self) -> Result<Arc<Image>, Arc<ImageError>> {
        let mut state = self.state();
        loop {
            match state {
                PullState::Done(image) => return Ok(image),
                PullState::Failed(error) => return Err(error),
                _ => state = self.changed().await,
            }
        }
    }

    /// How many wait for the same pull.
    #[must_use]
    pub fn waiters(&self) -> usize {
        Arc::strong_count(&self.running)
    }
}
