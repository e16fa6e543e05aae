//! The machine without a driver: every state with every request, and random lives.

use super::*;
use crate::model::Exit;

mod lives;
mod rules;
mod table;

pub(super) const NOW: Now = Now { boot_nanos: 1_000_000_000_000, unix_nanos: 1_790_000_000_000_000_000 };
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn context(config: &LifecycleConfig) -> Context<'_> {
    Context { now: NOW, config, timeout: Some(HOUR) }
}

fn error(message: &str) -> HostError {
    HostError { reason: Reason::StartFailed, message: message.to_owned() }
}

fn end(exit: Exit) -> End {
    End { exit, oom: None, lost: false }
}

/// A state in a phase, with work in flight, otherwise as it usually is there.
fn state(phase: Phase, work: Option<Work>) -> State {
    let config = LifecycleConfig::default();
    let mut state = State::new(context(&config)).doing(work);
    state.status.phase = phase;
    state.status.reason = match phase {
        Phase::Pending => Reason::Provisioning,
        Phase::Stopping => Reason::UserDelete,
        _ => Reason::Started,
    };
    state.removed = phase == Phase::Stopping;
    state.expiry = state.expiry.map(|expiry| Expiry { provisional: phase == Phase::Pending, ..expiry });
    state
}

fn gone() -> State {
    let forget = Some(expiry::after(NOW, Duration::from_secs(60)));
    let mut state = State { removed: true, cleaned: true, forget, ..state(Phase::Terminated, None) };
    state.status.reason = Reason::UserDelete;
    state
}

/// Every kind of state that there is. Those "as loaded" have work that a daemon before this one did not finish.
fn states() -> Vec<(&'static str, State)> {
    let undo = Work::Undo("EBUSY".to_owned());
    let ended = State { cleaned: true, ..state(Phase::Failed, None) };
    vec![
        ("Pending, fetching", state(Phase::Pending, Some(Work::Fetch))),
        ("Pending, being launched", state(Phase::Pending, Some(Work::Launch))),
        ("Pending, as loaded", state(Phase::Pending, None)),
        ("Running", state(Phase::Running, None)),
        ("Pausing, being frozen", state(Phase::Pausing, Some(Work::Freeze))),
        ("Pausing, being thawed again", state(Phase::Pausing, Some(undo))),
        ("Pausing, as loaded", state(Phase::Pausing, None)),
        ("Paused", state(Phase::Paused, None)),
        ("Resuming, being thawed", state(Phase::Resuming, Some(Work::Thaw))),
        ("Resuming, as loaded", state(Phase::Resuming, None)),
        ("Failed, being stopped", state(Phase::Failed, Some(Work::Stop))),
        ("Failed, resting", state(Phase::Failed, Some(Work::Rest))),
        ("Terminated, as loaded", state(Phase::Terminated, None)),
        ("Failed, cleaned", ended),
        ("Stopping, being launched", state(Phase::Stopping, Some(Work::Launch))),
        ("Stopping, being stopped", state(Phase::Stopping, Some(Work::Stop))),
        ("Stopping, being destroyed", state(Phase::Stopping, Some(Work::Destroy))),
        ("Stopping, resting", state(Phase::Stopping, Some(Work::Rest))),
        ("Stopping, as loaded", state(Phase::Stopping, None)),
        ("Terminated, removed", gone()),
    ]
}

fn requests() -> Vec<(&'static str, Request)> {
    let later = NOW.unix_micros() + 7_200_000_000;
    vec![
        ("pause", Request::Pause),
        ("resume", Request::Resume),
        ("delete", Request::Delete),
        ("renew", Request::Renew(later)),
        ("patch", Request::Patch),
        ("signal", Request::Signal(15)),
        ("expire", Request::Expire),
        ("forget", Request::Forget),
        ("rested", Request::Rested),
        ("fetching", Request::Fetching("1 of 2".to_owned())),
        ("fetched", Request::Fetched),
        ("fetch failed", Request::FetchFailed(error("404"))),
        ("launched", Request::Launched { notes: Vec::new() }),
        ("launch failed", Request::LaunchFailed(error("ENOENT"))),
        ("frozen", Request::Frozen),
        ("freeze failed", Request::FreezeFailed(error("EBUSY"))),
        ("thawed", Request::Thawed),
        ("thaw failed", Request::ThawFailed(error("EIO"))),
        ("ended 0", Request::Ended(end(Exit::Code(0)))),
        ("ended 3", Request::Ended(end(Exit::Code(3)))),
        ("ended lost", Request::Ended(End { exit: Exit::Unknown, oom: None, lost: true })),
        ("stopped", Request::Stopped),
        ("stop failed", Request::StopFailed(error("EBUSY"))),
        ("destroyed", Request::Destroyed),
        ("destroy failed", Request::DestroyFailed(error("EBUSY"))),
        ("found frozen", Request::Found { frozen: Some(true) }),
        ("found running", Request::Found { frozen: Some(false) }),
        ("found unclear", Request::Found { frozen: None }),
        ("lost", Request::Lost("no process".to_owned())),
        ("rebooted", Request::Rebooted),
        ("unmade", Request::Unmade),
        ("refetch", Request::Refetch),
        ("settle", Request::Settle),
    ]
}
