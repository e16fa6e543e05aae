//! The making of a sandbox, in a task of its own: a client that hangs up leaves nothing half made.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::Instrument;

use super::driver::{Answer, Driver, Facts};
use super::machine::{Context, State};
use super::registry::Inner;
use super::{Denial, Fetch, IdBase, Reservation};
use crate::model::{SandboxId, SandboxSpec, with_causes};

/// Starts to make a sandbox; `asker` hears when it runs, has failed, or could not be begun. Where the image is to be fetched
/// first, `asker` hears as soon as it is recorded.
pub(super) fn begin(inner: &Arc<Inner>, spec: SandboxSpec, fetch: Option<Fetch>, asker: oneshot::Sender<Answer>) {
    let (inner, outer) = (Arc::clone(inner), tracing::Span::current());
    let task = async move {
        match record(&inner, spec, fetch.as_ref()).await {
            Ok((id, mut driver)) => {
                let span = tracing::info_span!("sandbox", sandbox.id = %id);
                let inner = Arc::downgrade(&{ inner });
                let life = async move {
                    match fetch {
                        Some(fetch) => driver.fetch(fetch, asker),
                        None => driver.launch(asker),
                    }
                    Inner::run(inner, driver).await;
                };
                life.instrument(span).await;
            }
            // A caller that went away does not hear why.
            Err(denial) => drop(asker.send(Err(denial))),
        }
    };
    tokio::spawn(task.instrument(outer));
}

/// Takes an id with its range and writes the record, before anything of the sandbox's own is made.
async fn record(inner: &Inner, spec: SandboxSpec, fetch: Option<&Fetch>) -> Result<(SandboxId, Driver), Denial> {
    let shared = &inner.shared;
    let Reservation { id, base } = shared.host.reserve().await?;
    let context = Context { now: inner.now(), config: &shared.config, timeout: spec.timeout };
    let state = State::new(context);
    let state = if fetch.is_some() { state.fetching(&spec.image) } else { state };
    let facts = Facts { fetching: fetch.map(Fetch::noted), ..facts(inner, id.clone(), spec, base, context) };
    if let Err(error) = shared.store.insert(&facts.record(&state)) {
        shared.host.release(base);
        return Err(Denial::Store(with_causes(&error)));
    }
    Ok((id, inner.driver((facts, state))))
}

fn facts(inner: &Inner, id: SandboxId, mut spec: SandboxSpec, base: IdBase, context: Context<'_>) -> Facts {
    // A later daemon may give another network to those that do not ask.
    spec.network = Some(context.config.network(spec.network));
    let boot_id = inner.shared.host.boot_id().to_owned();
    let created_unix_micros = context.now.unix_micros();
    Facts { id, spec, created_unix_micros, base: Some(base), boot_id, proof: None, fetching: None }
}
