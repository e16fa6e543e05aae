//! The parts that the daemon is put together from: images, records, and the host.

use std::env;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::Unenforceable;
use super::{Config, StartFailure, base};
use crate::image::{ImageStore, Puller, UnpackLimits};
use crate::model::NetworkOffer;
use crate::runtime::plan::PlanSettings;
use crate::sandbox::Host;
use crate::sandbox::linux::{LinuxConfig, LinuxHost};
use crate::store::Store;

/// What sandboxes are made of, remembered in, and made by.
pub struct Parts {
    pub images: Arc<ImageStore>,
    pub puller: Puller,
    pub store: Arc<Store>,
    pub host: Arc<dyn Host>,
    /// What its sandboxes have of a network.
    pub network: NetworkOffer,
}

/// Opens the stores and starts what makes sandboxes on this host. Blocks; nobody is served yet.
///
/// # Errors
/// [`StartFailure::Unfit`] when this host cannot run sandboxes.
pub fn assemble(config: &Config) -> Result<Parts, StartFailure> {
    let (images, store) = stores(config)?;
    base::ensure(&images, &env::current_exe().unwrap_or_default());
    let puller = Puller::new(Arc::clone(&images), config.registries.clone()).map_err(part("set up the registries"))?;
    let host = host(config, (&images, &puller), &store)?;
    let network = host.network().clone();
    Ok(Parts { images, puller, store, host: Arc::new(host), network })
}

/// What is on disk: images and records.
///
/// # Errors
/// When one of them cannot be opened.
pub fn stores(config: &Config) -> Result<(Arc<ImageStore>, Arc<Store>), StartFailure> {
    let images = ImageStore::open(&config.state_dir.join("images"), UnpackLimits::default());
    let images = images.map_err(part("open the images"))?;
    let store = Store::open(&config.state_dir.join("sandboxes.db"));
    let store = store.map_err(part("open the records of the sandboxes"))?;
    Ok((Arc::new(images), Arc::new(store)))
}

/// A failure of the part that `what` names.
pub fn part<E: Into<Box<dyn Error + Send + Sync>>>(what: &'static str) -> impl FnOnce(E) -> StartFailure {
    move |error| StartFailure::Part { what, source: error.into() }
}

fn host(
    config: &Config,
    (images, puller): (&Arc<ImageStore>, &Puller),
    store: &Store,
) -> Result<LinuxHost, StartFailure> {
    let taken = store.id_bases().map_err(part("read the id ranges of the recorded sandboxes"))?;
    let linux = LinuxConfig {
        state_dir: config.state_dir.clone(),
        run_dir: config.run_dir.clone(),
        init: init_program()?,
        cgroup_parent: config.cgroup_parent.clone(),
        refuse_unenforceable: config.unenforceable == Unenforceable::Refuse,
        default_limits: config.default_limits,
        min_free_disk: config.min_free_disk,
        // The log is kept in two segments of half its size.
        settings: PlanSettings { log_segment_bytes: config.log_bytes / 2, ..PlanSettings::default() },
        overlay_by_paths: config.overlay_by_paths,
        pull_policy: config.pull_policy,
        network: config.network.clone(),
        allow_host_network: config.allow_host_network,
        slots: config.prepared_slots,
        disks: config.prepared_disks,
        go_first: config.go_first,
    };
    let host = LinuxHost::start(linux, (Arc::clone(images), puller.clone()), &taken);
    host.map_err(|error| StartFailure::Unfit { source: error.into() })
}

/// `bivouac-init`, which stands beside this program.
fn init_program() -> Result<PathBuf, StartFailure> {
    let find = || -> io::Result<PathBuf> {
        let own = env::current_exe()?;
        let init = own.with_file_name("bivouac-init");
        init.metadata()?;
        Ok(init)
    };
    find().map_err(|source| StartFailure::File {
        action: "find, beside the running program,",
        path: "bivouac-init".into(),
        source,
    })
}
