//! Limits of the workload: each is written, through the controllers of `cgroups-rs`, and read back.

mod cpu;
mod devices;
mod io;
mod memory;
mod pids;

use std::fs;
use std::path::Path;

pub use devices::deny_devices;
pub use io::Device;
pub use memory::{limit as memory_limit, oom_kills};

use super::CgroupError;
use super::layout::{Controller, Layout};
use crate::model::Limits;

/// What one sandbox may use, where.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub layout: &'a Layout,
    /// The sandbox's path below the root of any hierarchy.
    pub below: &'a Path,
    pub limits: &'a Limits,
    /// The block device of the writable layer.
    pub device: Option<Device>,
}

impl Wanted<'_> {
    /// Sets what was asked for. Returns what this host cannot enforce, unless `strict` refuses it.
    pub fn apply(&self, strict: bool) -> Result<Vec<String>, CgroupError> {
        let missing = self.missing();
        if strict && let Some(what) = missing.first() {
            return Err(CgroupError::NotEnforceable { what: what.clone() });
        }
        let limits = self.limits;
        self.set(Controller::Pids, limits.pids, pids::set)?;
        self.set(Controller::Memory, limits.memory_bytes, memory::set)?;
        self.set(Controller::Cpu, limits.cpu_weight, cpu::set_weight)?;
        // Last of the three: from here on the workload pays for its time.
        self.set(Controller::Cpu, limits.cpu_millis, cpu::set_quota)?;
        if let (Some(device), Some((dir, unified))) = (self.device, self.place(Controller::Io)) {
            io::set(&dir, unified, device, limits)?;
        }
        Ok(missing.into_iter().map(|what| format!("this host cannot enforce the {what}")).collect())
    }

    /// What was asked for and no hierarchy of this host enforces, each in words that end "cannot enforce the ...".
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let limits = self.limits;
        let wanted = [
            (Controller::Pids, "pids limit", limits.pids),
            (Controller::Memory, "memory limit", limits.memory_bytes),
            (Controller::Cpu, "cpu limit", limits.cpu_millis),
            (Controller::Cpu, "cpu weight", limits.cpu_weight),
        ];
        let asked = wanted.into_iter().filter(|(_, _, value)| value.is_some());
        let lacking = asked.filter(|(controller, ..)| self.place(*controller).is_none());
        let mut missing: Vec<String> =
            lacking.map(|(_, what, _)| format!("{what}: no cgroup has its controller")).collect();
        missing.extend(io::missing(self.place(Controller::Io).map(|(_, unified)| unified), self.device, limits));
        missing
    }

    fn place(&self, controller: Controller) -> Option<(std::path::PathBuf, bool)> {
        self.layout.workload_of(controller, self.below)
    }

    fn set(
        &self,
        controller: Controller,
        value: Option<u64>,
        set: impl Fn(&Path, bool, i64) -> Result<(), CgroupError>,
    ) -> Result<(), CgroupError> {
        match (value, self.place(controller)) {
            (Some(value), Some((dir, unified))) => set(&dir, unified, i64::try_from(value).unwrap_or(i64::MAX)),
            _ => Ok(()),
        }
    }
}

/// Lets processes that were killed end at once: one that waits for its next share of a small quota dies no sooner than it
/// has that (Linux 6.18, where it waits on the way out of the kernel), and a few dozen of them take half a minute.
pub fn hurry(layout: &Layout, below: &Path) -> Result<(), CgroupError> {
    layout.workload_of(Controller::Cpu, below).map_or(Ok(()), |(dir, unified)| cpu::lift_quota(&dir, unified))
}

/// All sandboxes together get half of the process ids that the host has: eight fork bombs could use up the 32,768 that are
/// usual, and then nothing on the host could start a process. A host without the controller goes without.
pub fn leave_ids_to_host(layout: &Layout, parent: &Path) {
    let Some(dir) = layout.parent_of(Controller::Pids, parent) else { return };
    let ids = fs::read_to_string("/proc/sys/kernel/pid_max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let Some(ids) = ids else { return };
    let file = dir.join("pids.max");
    if let Err(error) = fs::write(&file, (ids / 2).to_string()) {
        tracing::warn!(%error, "failed to write {}: sandboxes together may use up the process ids", file.display());
    }
}

fn refused(what: &'static str, dir: &Path) -> impl FnOnce(cgroups_rs::fs::error::Error) -> CgroupError {
    let path = dir.to_owned();
    move |source| CgroupError::Limit { what, path, source: Box::new(source) }
}

fn check(what: &'static str, dir: &Path, kept: bool, wanted: i64, found: &str) -> Result<(), CgroupError> {
    if kept {
        return Ok(());
    }
    Err(CgroupError::NotKept { what, path: dir.to_owned(), wanted: wanted.to_string(), found: found.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_processes_were_killed_has_no_quota() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout {
            unified: dir.path().into(),
            unified_controllers: Vec::new(),
            legacy: vec![(Controller::Cpu, dir.path().join("cpu"))],
        };
        hurry(&layout, Path::new("p/x")).expect("a sandbox that is gone needs nothing");
        let own = dir.path().join("cpu/p/x");
        fs::create_dir_all(&own).expect("made");
        hurry(&layout, Path::new("p/x")).expect("lifted");
        assert_eq!(fs::read_to_string(own.join("cpu.cfs_quota_us")).expect("written"), "-1");
    }

    #[test]
    fn what_no_hierarchy_has_is_said_or_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout { unified: dir.path().into(), unified_controllers: Vec::new(), legacy: Vec::new() };
        let limits = Limits { pids: Some(5), io_write: Some(1 << 20), ..Limits::default() };
        let wanted = Wanted { layout: &layout, below: Path::new("p/x"), limits: &limits, device: None };
        let notes = wanted.apply(false).expect("let pass");
        assert!(notes.len() == 2 && notes[0].contains("cannot enforce the pids limit"), "{notes:?}");
        assert!(matches!(wanted.apply(true), Err(CgroupError::NotEnforceable { what }) if what.contains("pids")));
        let limits = Limits::default();
        assert_eq!(Wanted { limits: &limits, ..wanted }.apply(true).expect("nothing asked"), Vec::<String>::new());
    }
}
