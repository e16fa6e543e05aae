//! What the operator decides about this host.

use std::path::PathBuf;

use crate::image::Policy;
use crate::model::Limits;
use crate::network::Wanted;
use crate::runtime::plan::PlanSettings;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxConfig {
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    /// The `bivouac-init` program.
    pub init: PathBuf,
    /// Name of the cgroup that all sandboxes are below, in each hierarchy.
    pub cgroup_parent: String,
    /// Refuse a sandbox with a limit that this host cannot enforce, instead of saying so in its status.
    pub refuse_unenforceable: bool,
    /// What a sandbox gets that does not ask.
    pub default_limits: Limits,
    /// Bytes of the state directory's file system that are kept free: below that there are no new sandboxes.
    pub min_free_disk: u64,
    pub settings: PlanSettings,
    /// Mount roots the way of kernels before 6.15, to try it out on a newer one.
    pub overlay_by_paths: bool,
    /// When the image of a sandbox is fetched that does not say it itself.
    pub pull_policy: Policy,
    /// The network that sandboxes are to get.
    pub network: Wanted,
    /// Whether one may have the host's own.
    pub allow_host_network: bool,
    /// How many prepared places are kept.
    pub slots: usize,
    /// How many bounded disks of the default size are kept ready, and of all others together.
    pub disks: usize,
    /// Whether the daemon's cgroup goes before those of the sandboxes, where processors are short.
    pub go_first: bool,
}

impl LinuxConfig {
    /// The limits of a sandbox: what it asked for, and the defaults for the rest.
    #[must_use]
    pub fn limits(&self, asked: &Limits) -> Limits {
        asked.or(&self.default_limits)
    }
}
