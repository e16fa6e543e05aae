//! A sandbox's way into the world and out of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::MsgFlags;

use super::dirs::{self, Logs, SandboxDirs};
use super::layer;
use super::proof::{self, Proof};
use super::{Inner, LinuxConfig, LinuxError, etc, failed, image_failed, step_failed};
use crate::image::Image;
use crate::model::{NetworkMode, Reason, SandboxId, SandboxSpec};
use crate::proto::{self, Command};
use crate::runtime::cgroup::CgroupError;
use crate::runtime::launcher::{Holding, LauncherError};
use crate::runtime::plan::{self, ImageDefaults};
use crate::runtime::root::{Told, Way, mount_root};
use crate::runtime::slots::{Slots, Wire};
use crate::sandbox::host::{HostError, IdBase};
use crate::sys;

/// A first process that exists; its entrypoint may not have been executed yet.
#[derive(Debug)]
pub struct Born {
    pub proof: Proof,
    pub pidfd: OwnedFd,
    pub control: OwnedFd,
    pub notes: Vec<String>,
}

/// Image, directory, root, limits, order to start: each step's resources are named by the recorded id, so what fails
/// half-way is removed by `remove` like everything else.
pub fn provision(inner: &Inner, id: &SandboxId, base: IdBase, spec: &SandboxSpec) -> Result<Born, HostError> {
    let reserved = inner.reserved().remove(&base);
    let mut slot = match reserved {
        Some(slot) => slot,
        // It was recorded by an earlier daemon, whose slots are gone.
        None => inner.slots.take_with(id, base).map_err(|error| failed(Reason::StartFailed, &error))?,
    };
    inner.slots.used(id);
    let image = match inner.images.held(id.as_str()) {
        Some(fetched) => fetched,
        None => inner.images.find_and_hold(&spec.image, id.as_str()).map_err(image_failed)?,
    };
    inner.network.settle(&slot, spec)?;
    let mode = inner.network.mode_of(spec);
    if mode == NetworkMode::Host {
        slot = inner.slots.move_to_host(slot).map_err(|error| failed(Reason::StartFailed, &error))?;
    }
    if spec.policy.is_some() {
        // Before anything of the user's runs.
        inner.network.govern(id, spec.policy.as_ref())?;
    }
    slot.about.say(inner.network.files_for(id, mode)).map_err(|error| failed(Reason::StartFailed, &error))?;
    let dir = inner.dirs.make(id).map_err(file_failed)?;
    let limits = inner.config.limits(&spec.limits);
    let (writable, note) = layer::make(inner, id, &dir, base, &limits)?;
    let logs = dirs::make_logs(&dir).map_err(file_failed)?;
    let layers: Vec<String> = image.layers.iter().map(|layer| layer.dir.clone()).collect();
    let root = mount_root(inner.way, &inner.config.run_dir, &slot, &layers, &writable);
    let root = root.map_err(|error| failed(Reason::StartFailed, &error))?;
    if root.told == Told::Nothing {
        etc::write(&root.mount, base, slot.about.files()).map_err(|error| failed(Reason::StartFailed, &error))?;
    }
    let mut notes = inner.cgroups.limit(id, &limits).map_err(cgroup_failed)?;
    notes.extend(note);
    let start_ticks = proof::start_ticks(slot.holding.pid).unwrap_or_default();
    order_start(inner, id, spec, &image, &slot.holding, &root.mount, &logs)?;
    // The sandbox has by now what its root was made of.
    inner.slots.put_away([slot.layers, slot.skeleton, slot.about.into_mount()].into_iter().chain(root.spent));
    let Holding { pid, pidfd, control } = slot.holding;
    let proof = Proof { pid, start_ticks, nonce: slot.nonce, image: image.digest.clone() };
    Ok(Born { proof, pidfd, control, notes })
}

fn order_start(
    inner: &Inner,
    id: &SandboxId,
    spec: &SandboxSpec,
    image: &Image,
    holding: &Holding,
    root: &OwnedFd,
    [first_log, second_log]: &[OwnedFd; 2],
) -> Result<(), HostError> {
    let config = &image.config;
    let defaults = ImageDefaults { env: &config.env, user: &config.user, working_dir: &config.working_dir };
    let plan = plan::start(id, spec, defaults, inner.config.settings);
    let sent = sys::memfd(c"start-plan", &proto::encode(&plan)).and_then(|plan| {
        let fds = [&plan, root, first_log, second_log].map(AsFd::as_fd);
        sys::send(holding.control.as_fd(), &proto::encode(&Command::Start), &fds, MsgFlags::MSG_DONTWAIT)
    });
    sent.map_err(|error| failed(Reason::StartFailed, &error))
}

/// The first process of a sandbox that was recorded, if it is still that one; and whether it is frozen.
pub fn find_again(inner: &Inner, id: &SandboxId, proof: &Proof) -> Result<(Holding, bool), HostError> {
    let lost = |message: &str| HostError { reason: Reason::Lost, message: message.to_owned() };
    let holding = inner.launcher.attach(id).map_err(launcher_failed)?;
    let holding = holding.ok_or_else(|| lost("find PID 1 again: the launcher does not have it"))?;
    if holding.pid != proof.pid || proof::start_ticks(holding.pid) != Some(proof.start_ticks) {
        return Err(lost("find PID 1 again: the process that was recorded has ended"));
    }
    layer::find_again(inner, id, holding.pid);
    let frozen = inner.cgroups.is_frozen(id).map_err(|error| failed(Reason::Lost, &error))?;
    // Its layers are open in the sandbox's root, so it lives on; only new sandboxes cannot be made of it.
    if let Err(error) = inner.images.hold_again(&proof.image, id.as_str()) {
        tracing::warn!(%error, "the image of a running sandbox is not in the store");
    }
    Ok((holding, frozen))
}

/// Removes everything that a sandbox has, from its id alone, as often as it is asked to. Goes on after a step that
/// failed, and reports them all.
pub fn remove(inner: &Inner, id: &SandboxId, base: IdBase, logs: Logs) -> Result<(), HostError> {
    drop(inner.reserved().remove(&base));
    inner.slots.used(id);
    let mut problems: Vec<String> = Vec::new();
    let mut note = |step: Result<(), HostError>| problems.extend(step.err().map(|error| error.message));
    note(inner.cgroups.kill(id).map_err(cgroup_failed));
    note(inner.cgroups.remove(id).map_err(cgroup_failed));
    note(inner.launcher.forget(id).map_err(launcher_failed));
    inner.network.detach(id);
    note(inner.dirs.remove(id, logs).map_err(file_failed));
    inner.images.release(id.as_str());
    if problems.is_empty() { Ok(()) } else { Err(internal(&problems.join("; "))) }
}

/// Removes what belongs to sandboxes that nobody has a record of.
pub fn sweep(inner: &Inner, known: &[SandboxId]) -> Vec<String> {
    let mut found = inner.cgroups.list();
    found.extend(inner.dirs.list());
    found.extend(inner.launcher.list().unwrap_or_default());
    found.extend(inner.network.list());
    found.sort();
    found.dedup();
    let strangers = found.into_iter().filter(|id| !known.contains(id) && !inner.slots.knows(id));
    let mut told: Vec<String> = strangers
        .map(|id| match remove(inner, &id, 0, Logs::Remove) {
            Ok(()) => format!("sandbox {id}: removed, no record of it"),
            Err(error) => format!("sandbox {id}: no record of it, and it could not be removed: {error}"),
        })
        .collect();
    // Images whose name went to another are kept only for sandboxes, and by now those hold theirs again.
    told.extend(
        inner.images.prune().into_iter().map(|digest| format!("image {digest}: removed, nothing names or uses it")),
    );
    told
}

/// How this kernel mounts roots, found out with one slot that is thrown away.
pub fn find_way(config: &LinuxConfig, slots: &Slots, dirs: &SandboxDirs) -> Result<Way, LinuxError> {
    if config.overlay_by_paths {
        return Ok(Way::Paths);
    }
    let slot = slots.take()?;
    let way = Way::find(&slot, &dirs.scratch());
    slots.discard(slot);
    Ok(way)
}

fn internal(message: &str) -> HostError {
    HostError { reason: Reason::StartFailed, message: message.to_owned() }
}

fn file_failed(error: io::Error) -> HostError {
    failed(Reason::StartFailed, &error)
}

fn cgroup_failed(error: CgroupError) -> HostError {
    let reason = match error {
        CgroupError::NotEnforceable { .. } | CgroupError::Limit { .. } | CgroupError::NotKept { .. } => {
            Reason::LimitNotEnforceable
        }
        _ => Reason::StartFailed,
    };
    failed(reason, &error)
}

fn launcher_failed(error: LauncherError) -> HostError {
    match error {
        LauncherError::Step(failure) => step_failed(&failure),
        other => failed(Reason::StartFailed, &other),
    }
}
