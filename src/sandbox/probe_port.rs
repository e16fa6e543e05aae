//! The port at which clients look whether code can be run.
//!
//! Their code interpreter connects to 127.0.0.1:44771 from inside the sandbox, where the reference has a server for it. Here
//! code runs without one, so the daemon listens there, and closes what it accepts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::Inside;
use crate::model::SandboxId;

const PORT: u16 = 44771;
/// Connections that wait to be closed.
const BACKLOG: u32 = 64;
/// Where a program inside listens, it is left alone; it may have ended when this has passed.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two connections: a program inside that does nothing but connect costs the daemon next to nothing.
const BREATH: Duration = Duration::from_millis(1);
/// After an error: without a descriptor to accept with, others need one more than this does.
const PAUSE: Duration = Duration::from_millis(500);

/// The sandboxes in which the daemon listens.
#[derive(Debug, Default)]
pub struct ProbePorts(Mutex<HashMap<SandboxId, State>>);

#[derive(Debug, Clone, Copy)]
enum State {
    Held,
    Tried(Instant),
}

impl ProbePorts {
    /// Listens in the sandbox, until it ends, unless something else does. The first call for a sandbox costs a socket,
    /// all others a look.
    pub async fn hold(self: &Arc<Self>, inside: &Inside) {
        {
            let mut states = self.states();
            let now = Instant::now();
            let stands = |state: &State| !matches!(state, State::Tried(at) if now.duration_since(*at) > AGAIN);
            if states.get(inside.id()).is_some_and(stands) {
                return;
            }
            states.retain(|_, state| stands(state));
            states.insert(inside.id().clone(), State::Tried(now));
        }
        match inside.listen(PORT, BACKLOG).await {
            Ok(listener) => {
                self.states().insert(inside.id().clone(), State::Held);
                drop(tokio::spawn(Arc::clone(self).answer(listener, inside.clone())));
            }
            Err(error) => debug!(%error, sandbox.id = %inside.id(), "not listening for probes in the sandbox"),
        }
    }

    async fn answer(self: Arc<Self>, listener: TcpListener, inside: Inside) {
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok(connection) => drop(connection),
                    Err(_) => sleep(PAUSE).await,
                }
                sleep(BREATH).await;
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = inside.left() => {}
        }
        self.states().remove(inside.id());
    }

    fn states(&self) -> MutexGuard<'_, HashMap<SandboxId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
