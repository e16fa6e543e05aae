//! The parts that the daemon is put together from: the records, the images and the host.

use std::env;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::Unenforceable;
use super::{Config, StartFailure};
use crate::image::{ImageStore, UnpackLimits};
use crate::runtime::plan::PlanSettings;
use crate::sandbox::Host;
use crate::sandbox::linux::{LinuxConfig, LinuxHost};
use crate::store::Store;

/// What sandboxes are made of, and with.
pub struct Parts {
    pub store: Arc<Store>,
    pub images: Arc<ImageStore>,
    pub host: Arc<dyn Host>,
}

/// Opens records and images and starts what makes sandboxes on this host. The records come first: no prepared place may
/// use an id range that stands in one of them.
///
/// # Errors
/// [`StartFailure::Unfit`] when this host cannot run sandboxes.
pub async fn assemble(config: &Config) -> Result<Parts, StartFailure> {
    let config = config.clone();
    let assembled = tokio::task::spawn_blocking(move || {
        let store =
            Store::open(&config.state_dir.join("sandboxes.db")).map_err(part("open the records of the sandboxes"))?;
        let images = ImageStore::open(&config.state_dir.join("images"), UnpackLimits::default())
            .map_err(part("open the images"))?;
        let (store, images) = (Arc::new(store), Arc::new(images));
        let taken = store.id_bases().map_err(part("read the records of the sandboxes"))?;
        let host = LinuxHost::start(linux(&config)?, Arc::clone(&images), &taken).map_err(unfit)?;
        let host: Arc<dyn Host> = Arc::new(host);
        Ok(Parts { store, images, host })
    });
    assembled.await.unwrap_or_else(|panic| Err(part("start the daemon's parts")(panic)))
}

fn linux(config: &Config) -> Result<LinuxConfig, StartFailure> {
    let runtime = &config.runtime;
    Ok(LinuxConfig {
        state_dir: config.state_dir.clone(),
        run_dir: config.run_dir.clone(),
        init: init_program().map_err(part("find the running program"))?,
        cgroup_parent: runtime.cgroup_parent.clone(),
        refuse_unenforceable: config.unenforceable == Unenforceable::Refuse,
        default_limits: config.default_limits,
        // The log is two segments that take turns.
        settings: PlanSettings { log_segment_bytes: config.log_bytes / 2, ..PlanSettings::default() },
        overlay_by_paths: runtime.overlay_by_paths,
        slots: runtime.prepared_slots,
    })
}

/// `bivouac-init` stands beside the program that runs.
fn init_program() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name("bivouac-init"))
}

fn part<E: Error + Send + Sync + 'static>(what: &'static str) -> impl FnOnce(E) -> StartFailure {
    move |error| StartFailure::Part { what, source: error.into() }
}

fn unfit<E: Error + Send + Sync + 'static>(error: E) -> StartFailure {
    StartFailure::Unfit { source: error.into() }
}
