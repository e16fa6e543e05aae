//! Staying with a sandbox until its end: its output, our signals, and a daemon that may be restarted meanwhile.

use std::time::Duration;

use hyper::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::client::Call;
use super::logs::{self, Part};
use super::signals::Signals;
use super::wire::{Sandbox, Status};
use super::{Client, Failure, screen};

/// How long a daemon may be away. A restart takes a second or two; the sandbox does not notice it.
const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Output up to which a broken connection is taken up again: so much is surely still in the log from its beginning, whose
/// older half is given up when it is full (at 16 MiB, unless configured).
const RESUMABLE: u64 = 4 << 20;

/// Shows the output and passes signals on until the sandbox has ended.
///
/// # Errors
/// When the daemon stays away, or refuses.
pub async fn attend(client: &Client, sandbox: &Sandbox, signals: &mut Signals) -> Result<Status, Failure> {
    if sandbox.status.is_over() {
        // The program may have written something and ended before the answer to the creation was sent.
        logs::show(client, &sandbox.id, Part::default(), &mut 0).await?;
        return Ok(sandbox.status.clone());
    }
    let end = until_end(client, &sandbox.id);
    tokio::pin!(end);
    loop {
        tokio::select! {
            status = &mut end => return status,
            signal = signals.next() => pass_on(client, &sandbox.id, signal).await,
        }
    }
}

/// Shows the output to its end; goes on where it was when the daemon comes back.
async fn until_end(client: &Client, id: &str) -> Result<Status, Failure> {
    let mut shown = 0;
    let mut away: Option<Instant> = None;
    loop {
        let before = shown;
        match once(client, id, &mut shown).await {
            Ok(status) if status.is_over() => return Ok(status),
            // The daemon is about to stop; soon it cannot be reached.
            Ok(_) => away = None,
            Err(failure) if failure.may_pass() && shown < RESUMABLE => {
                if shown != before {
                    away = None;
                }
                if away.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
        sleep(BETWEEN_TRIES).await;
    }
}

/// One connection for the output, and one for the end.
async fn once(client: &Client, id: &str, shown: &mut u64) -> Result<Status, Failure> {
    logs::show(client, id, Part { follow: true, tail: None }, shown).await?;
    let call = Call::new(Method::GET, format!("/v1/sandboxes/{id}/wait"), format!("wait for sandbox {id}"));
    let sandbox: Sandbox = client.json(call).await?;
    Ok(sandbox.status)
}

/// A program that has just ended takes no signal; its end is about to be seen, so a refusal is only told.
async fn pass_on(client: &Client, id: &str, signal: &'static str) {
    let call = Call::new(Method::POST, format!("/v1/sandboxes/{id}/signal"), format!("send {signal} to sandbox {id}"));
    if let Err(failure) = client.done(call.with(json!({ "signal": signal }))).await {
        screen::note(&failure.line());
    }
}
