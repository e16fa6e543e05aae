//! The run of the daemon, from its configuration to its end.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::listen::Listener;
use super::lock::StateLock;
use super::parts::{self, Parts};
use super::serve::{Door, serve};
use super::stop::Stop;
use super::{Config, StartFailure, logging, process};
use crate::api::{self, ApiState, Auth};
use crate::sandbox::logs::Logs;
use crate::sandbox::{Sandboxes, StartReport};

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
    process::prepare()?;
    let lock = StateLock::take(&config.state_dir)?;
    make_run_dir(&config.run_dir)?;
    let runtime = runtime()?;
    let done = runtime.block_on(live(&config));
    // Every sandbox is recorded and nothing is in flight; a blocking call that hangs must not keep us.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(lock);
    done
}

/// Everybody may pass through the run directory to the socket; nobody may look around in it.
fn make_run_dir(path: &Path) -> Result<(), StartFailure> {
    let failed = |source| StartFailure::File { action: "make the run directory", path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(failed)?;
    // The umask has cut the mode.
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).map_err(failed)
}

fn runtime() -> Result<Runtime, StartFailure> {
    let failed = |source| StartFailure::Process { what: "start its threads", source };
    Builder::new_multi_thread().enable_all().thread_name("bivouac").build().map_err(failed)
}

/// Brings everything up in the order in which each needs the one before, serves, and leaves the sandboxes running.
async fn live(config: &Config) -> Result<(), StartFailure> {
    // First, so that to be told to stop while sandboxes are being adopted is no violent end either.
    let mut stop = Stop::catch()?;
    let parts = parts::assemble(config).await?;
    let (sandboxes, report) = adopt(config, &parts).await?;
    tell(&report);
    let doors = open_doors(config, &sandboxes).await?;
    let (end, ended) = watch::channel(false);
    let mut serving = JoinSet::new();
    for door in doors {
        drop(serving.spawn(serve(door, ended.clone())));
    }
    info!("ready");
    let signal = stop.told().await;
    info!(signal, "stopping; the sandboxes stay as they are");
    end.send_replace(true);
    while serving.join_next().await.is_some() {}
    sandboxes.shutdown().await;
    Ok(())
}

async fn adopt(config: &Config, parts: &Parts) -> Result<(Sandboxes, StartReport), StartFailure> {
    Sandboxes::start(Arc::clone(&parts.host), Arc::clone(&parts.store), config.lifecycle.clone())
        .await
        .map_err(|error| StartFailure::Part { what: "take the recorded sandboxes over", source: error.into() })
}

fn tell(report: &StartReport) {
    let StartReport { adopted, lost, rebooted, unmade, expired, kept, quarantined, swept } = report;
    info!(adopted, lost, rebooted, unmade, expired, kept, "the recorded sandboxes are in order");
    for record in quarantined {
        warn!(?record, "a record could not be believed and was put aside");
    }
    for thing in swept {
        warn!(thing, "removed what no record knows");
    }
}

/// Opens every door, or none: an address that is taken is noticed before anybody is served.
async fn open_doors(config: &Config, sandboxes: &Sandboxes) -> Result<Vec<Door>, StartFailure> {
    let mut doors = Vec::new();
    let logs = Arc::new(Logs::new(config.state_dir.join("sandboxes")));
    let state = ApiState::new(sandboxes.clone(), logs, Auth::None, env!("CARGO_PKG_VERSION"));
    for address in &config.listen {
        let listener = Listener::open(address).await?;
        let keys = !config.keys.is_empty() && (config.socket_requires_key || !listener.is_unix());
        info!(%address, keys, "listening");
        if !keys && !listener.is_unix() {
            warn!(%address, "no key is asked for: everybody who can connect can run programs on this host");
        }
        let auth = if keys { Auth::Keys(config.keys.clone()) } else { Auth::None };
        let router = api::router(state.with_auth(auth));
        doors.push(Door { listener, router, max_connections: config.max_connections });
    }
    Ok(doors)
}
