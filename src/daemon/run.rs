//! The run of the daemon, from its configuration to its end.

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::keep::keep;
use super::listen::Listener;
use super::lock::DirLock;
use super::parts::{self, Parts};
use super::serve::{Door, serve};
use super::stop::Stop;
use super::{Config, StartFailure, logging, on_host, process};
use crate::api::access::{Access, Secret};
use crate::api::{self, ApiState, Auth};
use crate::console::Address;
use crate::sandbox::logs::Logs;
use crate::sandbox::{LifecycleConfig, Sandboxes, StartReport};

/// How long images that are not on the disk yet may hold up the end: after it they may be lost with the host, and are pulled
/// again.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs the daemon and returns the exit code: 0 after it was told to stop, otherwise as [`StartFailure::exit_code`].
#[must_use]
pub fn main(file: Option<&Path>, flags: &[(&'static str, Vec<String>)]) -> ExitCode {
    match run(file, flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Without a standard error, the exit code is all that can be said.
            drop(writeln!(io::stderr(), "{}", failure.story()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(file: Option<&Path>, flags: &[(&'static str, Vec<String>)]) -> Result<(), StartFailure> {
    let config = Config::load(file, |name| env::var(name).ok(), flags)?;
    logging::start(config.log);
    process::prepare(config.go_first)?;
    // Nobody but root reaches into the state. Everybody may pass through the run directory to the socket, and nobody may
    // look around in it.
    let state = DirLock::take(&config.state_dir, 0o700)?;
    let run = DirLock::take(&config.run_dir, 0o711)?;
    let runtime = runtime()?;
    let done = runtime.block_on(live(&config));
    // Every sandbox is recorded and nothing is in flight; a blocking call that hangs must not keep us.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop((run, state));
    done
}

fn runtime() -> Result<Runtime, StartFailure> {
    let failed = |source| StartFailure::Process { what: "start its threads", source };
    // The main thread takes part; the others ask for themselves.
    process::be_prompt();
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().thread_name("bivouac").on_thread_start(process::be_prompt).build().map_err(failed)
}

/// Puts the parts together and serves until a signal says stop.
async fn live(config: &Config) -> Result<(), StartFailure> {
    // First, so that to be told to stop while sandboxes are being adopted is no violent end either.
    let mut stop = Stop::catch()?;
    let parts = parts::assemble(config)?;
    serve_until(config, &parts, stop.told()).await
}

/// Takes the recorded sandboxes over, opens the doors, serves, and leaves the sandboxes running.
async fn serve_until(
    config: &Config,
    parts: &Parts,
    stop: impl Future<Output = &'static str>,
) -> Result<(), StartFailure> {
    let (host, store) = (Arc::clone(&parts.host), Arc::clone(&parts.store));
    let lifecycle = LifecycleConfig { network: parts.network.clone(), ..config.lifecycle.clone() };
    let started = Sandboxes::start(host, store, lifecycle).await;
    let (sandboxes, report) = started.map_err(parts::part("take the recorded sandboxes over"))?;
    tell(&report);
    on_host::check(config, &sandboxes)?;
    let doors = open_doors(config, parts, sandboxes.clone()).await?;
    let (end, ended) = watch::channel(false);
    let serving: JoinSet<()> = doors.into_iter().map(|door| serve(door, ended.clone())).collect();
    info!("ready");
    let keeping = tokio::spawn(keep(Arc::clone(&parts.images), config.keep_images, end.subscribe()));
    let signal = stop.await;
    info!(signal, "stopping; the sandboxes stay as they are");
    end.send_replace(true);
    drop(serving.join_all().await);
    sandboxes.shutdown().await;
    drop(keeping.await);
    // For whoever shuts the host down next.
    let images = Arc::clone(&parts.images);
    drop(tokio::task::spawn_blocking(move || images.settle(SETTLE)).await);
    Ok(())
}

fn tell(report: &StartReport) {
    let StartReport { adopted, lost, rebooted, unmade, fetching, expired, kept, quarantined, swept } = report;
    info!(adopted, lost, rebooted, unmade, fetching, expired, kept, "the recorded sandboxes are in order");
    for record in quarantined {
        warn!(?record, "a record could not be believed and was put aside");
    }
    for thing in swept {
        warn!(thing, "removed what no record knows");
    }
}

/// Opens every door, or none: an address that is taken is noticed before anybody is served.
async fn open_doors(config: &Config, parts: &Parts, sandboxes: Sandboxes) -> Result<Vec<Door>, StartFailure> {
    let logs = Arc::new(Logs::new(config.state_dir.join("sandboxes")));
    let mut api = ApiState::new(sandboxes, Arc::clone(&parts.images), logs, Auth::None, env!("CARGO_PKG_VERSION"));
    api.sandbox_metrics = config.sandbox_metrics;
    api.proxy_timeout = config.proxy_timeout;
    api.proxy_authorization = config.proxy_authorization;
    api.puller = Some(parts.puller.clone());
    api.access = Arc::new(access(config)?);
    let mut doors = Vec::new();
    for address in &config.listen {
        let listener = Listener::open(address).await?;
        let auth = auth(config, address);
        let router = api::router(api.with_auth(auth));
        doors.push(Door { listener, router, max_connections: config.max_connections });
    }
    Ok(doors)
}

/// How the ports of sandboxes are reached: by tokens that are the same after every start.
fn access(config: &Config) -> Result<Access, StartFailure> {
    let secret = Secret::keep(&config.state_dir.join("access.key"));
    let secret = secret.map_err(parts::part("protect the ports of the sandboxes"))?;
    let mut access = Access::new(secret);
    access.open_ports = config.open_ports;
    access.public_host.clone_from(&config.public_host);
    Ok(access)
}

/// Who is let in at this address.
fn auth(config: &Config, address: &Address) -> Auth {
    let on_socket = matches!(address, Address::Unix(_));
    if !config.keys.is_empty() && (config.socket_requires_key || !on_socket) {
        info!(%address, "listening; a key is asked for");
        return Auth::Keys(config.keys.clone());
    }
    if on_socket {
        info!(%address, "listening; the permissions of the socket say who may come in");
        return Auth::None;
    }
    warn!(%address, "listening; no key is asked for: everybody who can connect can run programs on this host");
    let public = config.public_host.iter().map(|host| host.name().to_owned());
    Auth::Open(config.names.iter().cloned().chain(public).collect())
}

#[cfg(test)]
mod tests;
