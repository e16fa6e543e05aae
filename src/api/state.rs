//! What handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::FromRef;

use tokio::sync::Semaphore;

use super::access::{Access, Secret};
use super::auth::Auth;
use crate::image::{ImageStore, Puller};
use crate::sandbox::code::CodeContexts;
use crate::sandbox::commands::Commands;
use crate::sandbox::files::Files;
use crate::sandbox::logs::Logs;
use crate::sandbox::{ProbePorts, Sandboxes};

/// Everything behind one listener. A clone shares all but [`auth`](Self::auth), which each listener has of its own.
#[derive(Clone)]
pub struct ApiState {
    pub sandboxes: Sandboxes,
    pub images: Arc<ImageStore>,
    /// Who fetches images that are not here; without one nobody does.
    pub puller: Option<Puller>,
    pub logs: Arc<Logs>,
    pub commands: Arc<Commands>,
    pub contexts: Arc<CodeContexts>,
    pub probe_ports: Arc<ProbePorts>,
    pub files: Arc<Files>,
    pub auth: Auth,
    /// Until it is set, tokens are good for as long as this process lives.
    pub access: Arc<Access>,
    /// How long a program in a sandbox may take to begin its answer.
    pub proxy_timeout: Duration,
    /// Whether programs in sandboxes get the `Authorization` of their clients.
    pub proxy_authorization: bool,
    /// What `/version` says.
    pub version: &'static str,
    /// Whether `/metrics` tells about each sandbox.
    pub sandbox_metrics: bool,
    pub(super) counters: Arc<Counters>,
    /// Imports at the same time; more wait for their turn. Each keeps several threads and the disk busy.
    pub(super) imports: Arc<Semaphore>,
    /// Exports at the same time.
    pub(super) exports: Arc<Semaphore>,
    /// Whoever reads all layers.
    pub(super) verifying: Arc<Semaphore>,
}

/// Bytes that are kept of what a command in the background writes.
const COMMAND_OUTPUT: u64 = 64 << 20;

/// As the protocol's own server has it.
pub const PROXY_TIMEOUT: Duration = Duration::from_secs(180);

/// Two, so that a small image need not wait for a large one.
const IMPORTS: usize = 2;

/// Four, because a client may take its time with one.
const EXPORTS: usize = 4;

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState").field("auth", &self.auth).field("version", &self.version).finish_non_exhaustive()
    }
}

impl ApiState {
    #[must_use]
    pub fn new(
        sandboxes: Sandboxes,
        images: Arc<ImageStore>,
        logs: Arc<Logs>,
        auth: Auth,
        version: &'static str,
    ) -> Self {
        let access = Arc::new(Access::new(Secret::random()));
        let imports = Arc::new(Semaphore::new(IMPORTS));
        let exports = Arc::new(Semaphore::new(EXPORTS));
        let verifying = Arc::new(Semaphore::new(1));
        let counters = Arc::new(Counters::start());
        let commands = Arc::new(Commands::new(logs.dir().to_owned(), COMMAND_OUTPUT));
        Self {
            contexts: Arc::default(),
            probe_ports: Arc::default(),
            sandboxes,
            images,
            puller: None,
            logs,
            commands,
            auth,
            access,
            proxy_timeout: PROXY_TIMEOUT,
            proxy_authorization: false,
            files: Arc::default(),
            version,
            sandbox_metrics: true,
            counters,
            imports,
            exports,
            verifying,
        }
    }

    /// The same, for a listener with another authentication.
    #[must_use]
    pub fn with_auth(&self, auth: Auth) -> Self {
        Self { auth, ..self.clone() }
    }
}

impl FromRef<ApiState> for Sandboxes {
    fn from_ref(state: &ApiState) -> Self {
        state.sandboxes.clone()
    }
}

/// What `/metrics` tells beside the present state.
#[derive(Debug)]
pub(super) struct Counters {
    pub started_unix_seconds: i64,
    pub creates: AtomicU64,
    pub create_failures: AtomicU64,
}

impl Counters {
    fn start() -> Self {
        let started_unix_seconds = chrono::Utc::now().timestamp();
        Self { started_unix_seconds, creates: AtomicU64::new(0), create_failures: AtomicU64::new(0) }
    }

    pub fn created(&self, failed: bool) {
        self.creates.fetch_add(1, Ordering::Relaxed);
        self.create_failures.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}
