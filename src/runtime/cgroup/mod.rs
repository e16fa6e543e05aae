//! The cgroups of a sandbox, on a pure version 2 host and on one with version 1 controllers beside it.
//!
//! In the version 2 hierarchy each sandbox has `PARENT/ID/` with two children, `init` (PID 1) and `workload`
//! (everything else). Freezing and killing act on `ID`; limits are on `workload`, so that running out of memory hits the
//! workload and not PID 1. Controllers that the host keeps in version 1 hierarchies are used there, in `PARENT/ID`.
//! A killed cgroup is never used again: from then on the kernel kills everything that is cloned into it.

mod delegated;
mod freezer;
mod layout;
mod limits;
mod remove;
mod usage;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use layout::{Controller, Layout};
use limits::{Device, Wanted};

use crate::model::{Limits, SandboxId, Usage};

#[derive(Debug, Error)]
pub enum CgroupError {
    #[error("find a cgroup2 mount: none in /proc/self/mountinfo; mount one, for example at /sys/fs/cgroup")]
    NoVersion2,
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("set {what} on {path}: {source}")]
    Limit { what: &'static str, path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("set {what} on {path}: wrote {wanted}, the kernel kept {found}")]
    NotKept { what: &'static str, path: PathBuf, wanted: String, found: String },
    #[error("enforce the {what} (this server refuses what it cannot: limits.unenforceable)")]
    NotEnforceable { what: String },
    #[error("wait until {path} is {wanted}: not after {millis} ms")]
    Deadline { path: PathBuf, wanted: &'static str, millis: u128 },
}

impl CgroupError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What a launch needs of the cgroups.
#[derive(Debug)]
pub struct Prepared {
    /// `init` of the version 2 hierarchy, to clone PID 1 into.
    pub own: OwnedFd,
    /// `workload` of the version 2 hierarchy.
    pub workload: OwnedFd,
    /// `tasks` of version 1 hierarchies, opened by root: the kernel checks the opener (Linux 5.16). A process of one thread
    /// that moves itself through this file, and not through `cgroup.procs`, needs no lock against all forks of the host,
    /// and so waits for no grace period (10 ms).
    pub joins: Vec<OwnedFd>,
}

/// All cgroups below one parent name.
#[derive(Debug)]
pub struct Cgroups {
    layout: Layout,
    /// The cgroup that holds all sandboxes, from the root of each hierarchy.
    parent: PathBuf,
    /// Above this directory of version 2 nothing is written.
    base: PathBuf,
    /// The daemon's own cgroup of version 2, where it has been given a part of the tree.
    own: Option<PathBuf>,
    /// Whether a limit without a controller refuses the sandbox, or is only noted.
    strict: bool,
    /// The block device that sandboxes write to.
    device: Option<Device>,
}

impl Cgroups {
    /// Finds the hierarchies and makes the parent in each.
    ///
    /// `state_dir` is where the sandboxes write.
    pub fn open(parent: &str, strict: bool, state_dir: &Path) -> Result<Self, CgroupError> {
        let device = Device::of(state_dir);
        let mut layout = Layout::find()?;
        // Where other hierarchies are, nobody has given their part.
        let given = delegated::find(&layout.unified).filter(|_| layout.legacy.is_empty());
        let own = given.as_ref().map(|given| layout.unified.join(&given.own));
        let below = given.unwrap_or_default().base;
        let base = layout.unified.join(&below);
        if own.is_some() {
            layout.unified_controllers = Layout::controllers(&base)?;
        }
        let cgroups = Self { layout, parent: below.join(parent), base, own, strict, device };
        let unified = cgroups.layout.unified.join(&cgroups.parent);
        make_dir(&unified)?;
        cgroups.layout.delegate(&cgroups.base, &unified)?;
        for (_, mount) in &cgroups.layout.legacy {
            make_dir(&mount.join(&cgroups.parent))?;
        }
        limits::leave_ids_to_host(&cgroups.layout, &cgroups.parent);
        Ok(cgroups)
    }

    /// Lets the daemon go before its sandboxes where processors are short, in a part of the tree that it was given.
    pub fn go_first(&self) {
        if let Some(own) = &self.own {
            delegated::go_first(own);
        }
    }

    /// Makes the cgroups of a sandbox, without limits yet. `supervisor` is the host id of PID 1, which needs to clone
    /// from `init` into `workload`.
    pub fn prepare(&self, id: &SandboxId, supervisor: u32) -> Result<Prepared, CgroupError> {
        let sandbox = self.unified(id);
        let (init, workload) = (sandbox.join("init"), sandbox.join("workload"));
        make_dir(&sandbox)?;
        self.layout.delegate(&self.base, &sandbox)?;
        make_dir(&init)?;
        make_dir(&workload)?;
        for dir in [&sandbox, &workload] {
            let procs = dir.join("cgroup.procs");
            chown(&procs, Some(supervisor), Some(supervisor)).map_err(CgroupError::io("give away", &procs))?;
        }
        let mut joins = Vec::new();
        for (controller, mount) in &self.layout.legacy {
            let dir = mount.join(&self.parent).join(id.as_str());
            make_dir(&dir)?;
            if *controller == Controller::Devices {
                limits::deny_devices(&dir)?;
            }
            joins.push(open_write(&dir.join("tasks"))?);
        }
        Ok(Prepared { own: open_dir(&init)?, workload: open_dir(&workload)?, joins })
    }

    /// Sets the limits of the workload and reads them back. Returns what could not be set and was let pass.
    pub fn limit(&self, id: &SandboxId, limits: &Limits) -> Result<Vec<String>, CgroupError> {
        self.wanted(&self.below(id), limits).apply(self.strict)
    }

    /// What was asked for and this host cannot enforce.
    #[must_use]
    pub fn missing(&self, id: &SandboxId, limits: &Limits) -> Vec<String> {
        self.wanted(&self.below(id), limits).missing()
    }

    fn wanted<'a>(&'a self, below: &'a Path, limits: &'a Limits) -> Wanted<'a> {
        Wanted { layout: &self.layout, below, limits, device: self.device }
    }

    pub fn freeze(&self, id: &SandboxId) -> Result<(), CgroupError> {
        freezer::set(&self.unified(id), true)
    }

    pub fn thaw(&self, id: &SandboxId) -> Result<(), CgroupError> {
        freezer::set(&self.unified(id), false)
    }

    pub fn is_frozen(&self, id: &SandboxId) -> Result<bool, CgroupError> {
        freezer::is_frozen(&self.unified(id))
    }

    /// Kills every process of the sandbox, frozen ones too (Linux 5.14); harmless when it is gone.
    pub fn kill(&self, id: &SandboxId) -> Result<(), CgroupError> {
        let file = self.unified(id).join("cgroup.kill");
        match fs::write(&file, "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(CgroupError::io("write", &file)(error)),
            Ok(()) => limits::hurry(&self.layout, &self.below(id)),
        }
    }

    /// Removes the cgroups of a sandbox whose processes were killed, waiting until the last of them has left.
    pub fn remove(&self, id: &SandboxId) -> Result<(), CgroupError> {
        let sandbox = self.unified(id);
        for dir in [sandbox.join("workload"), sandbox.join("init"), sandbox] {
            remove::remove_dir(&dir)?;
        }
        for (_, mount) in &self.layout.legacy {
            remove::remove_dir(&mount.join(self.below(id)))?;
        }
        Ok(())
    }

    /// How many processes of the workload the kernel killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self, id: &SandboxId) -> u64 {
        limits::oom_kills(&self.layout, &self.below(id))
    }

    /// The most processes that the workload may have, when it has them already and nothing but the caller's asking keeps
    /// more from coming: version 1 counts who joins by writing, and lets everybody in.
    #[must_use]
    pub fn is_full(&self, id: &SandboxId) -> Option<u64> {
        let legacy = self.layout.legacy.iter().any(|(known, _)| *known == Controller::Pids);
        let pids = legacy.then(|| usage::pids(&self.layout, &self.below(id)))?;
        pids.limit.filter(|limit| pids.current.is_some_and(|current| current >= *limit))
    }

    /// How many bytes of memory it may use, if that is limited.
    #[must_use]
    pub fn memory_limit(&self, id: &SandboxId) -> Option<u64> {
        limits::memory_limit(&self.layout, &self.below(id))
    }

    /// What the workload uses, as far as this host counts it; nothing when the sandbox is gone.
    #[must_use]
    pub fn usage(&self, id: &SandboxId) -> Usage {
        usage::read(&self.layout, &self.below(id))
    }

    /// The directories that hold the workload's counters and limits, each with what it is for.
    #[must_use]
    pub fn places(&self, id: &SandboxId) -> Vec<(&'static str, PathBuf)> {
        let below = self.below(id);
        let place = |controller| Some((Controller::name(controller), self.layout.workload_of(controller, &below)?.0));
        let own = [("v2", self.unified(id))];
        own.into_iter().chain(Controller::ALL.into_iter().filter_map(place)).collect()
    }

    /// The sandboxes that have a cgroup in any hierarchy.
    #[must_use]
    pub fn list(&self) -> Vec<SandboxId> {
        let roots = self.layout.legacy.iter().map(|(_, mount)| mount).chain([&self.layout.unified]);
        let entries = roots.filter_map(|root| fs::read_dir(root.join(&self.parent)).ok()).flatten().flatten();
        let mut ids: Vec<SandboxId> =
            entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Removes the parents again when no sandbox is left in them.
    pub fn close(&self) {
        let roots = self.layout.legacy.iter().map(|(_, mount)| mount).chain([&self.layout.unified]);
        for root in roots {
            // Not empty means that sandboxes live on; they keep it.
            drop(fs::remove_dir(root.join(&self.parent)));
        }
    }

    fn unified(&self, id: &SandboxId) -> PathBuf {
        self.layout.unified.join(self.below(id))
    }

    /// The sandbox's path below the root of any hierarchy.
    fn below(&self, id: &SandboxId) -> PathBuf {
        self.parent.join(id.as_str())
    }
}

fn make_dir(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(CgroupError::io("make", path)(error)),
        _ => Ok(()),
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, CgroupError> {
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
    opened.map(OwnedFd::from).map_err(CgroupError::io("open", path))
}

fn open_write(path: &Path) -> Result<OwnedFd, CgroupError> {
    fs::OpenOptions::new().write(true).open(path).map(OwnedFd::from).map_err(CgroupError::io("open", path))
}
