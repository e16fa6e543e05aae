//! Random lives: whatever is asked in whatever order, the machine stays within its rules.

use proptest::prelude::*;

use super::*;

/// Every change of phase that there may be.
const LEGAL: [(Phase, Phase); 24] = [
    (Phase::Pending, Phase::Running),
    (Phase::Pending, Phase::Failed),
    (Phase::Pending, Phase::Stopping),
    (Phase::Running, Phase::Pausing),
    (Phase::Running, Phase::Resuming), // found frozen by a new daemon
    (Phase::Running, Phase::Terminated),
    (Phase::Running, Phase::Failed),
    (Phase::Running, Phase::Stopping),
    (Phase::Pausing, Phase::Paused),
    (Phase::Pausing, Phase::Running),
    (Phase::Pausing, Phase::Failed),
    (Phase::Pausing, Phase::Stopping),
    (Phase::Paused, Phase::Resuming),
    (Phase::Paused, Phase::Pausing), // found running by a new daemon
    (Phase::Paused, Phase::Terminated),
    (Phase::Paused, Phase::Failed),
    (Phase::Paused, Phase::Stopping),
    (Phase::Resuming, Phase::Running),
    (Phase::Resuming, Phase::Paused),
    (Phase::Resuming, Phase::Failed),
    (Phase::Resuming, Phase::Stopping),
    (Phase::Terminated, Phase::Stopping),
    (Phase::Failed, Phase::Stopping),
    (Phase::Stopping, Phase::Terminated),
];

fn check(before: &State, request: &Request, after: &State, effect: Option<&Effect>) {
    let (from, to) = (before.phase(), after.phase());
    assert!(from == to || LEGAL.contains(&(from, to)), "{from} -> {to} by {request:?}");
    assert!(!before.removed || after.removed, "a removed sandbox came back by {request:?}");
    assert!(before.status.exit.is_none() || after.status.exit == before.status.exit, "a second exit by {request:?}");
    assert_eq!(from == to, after.status.since_unix_nanos == before.status.since_unix_nanos || from == to);
    assert_eq!(after.removed, after.phase() == Phase::Stopping || after.forget.is_some());
    let starts = matches!(
        effect,
        Some(Effect::Launch | Effect::Freeze | Effect::Thaw | Effect::Stop | Effect::Destroy | Effect::Rest(_))
    );
    if starts {
        let fits = matches!(
            (effect, &after.work),
            (Some(Effect::Launch), Some(Work::Launch))
                | (Some(Effect::Freeze), Some(Work::Freeze))
                | (Some(Effect::Thaw), Some(Work::Thaw | Work::Undo(_)))
                | (Some(Effect::Stop), Some(Work::Stop))
                | (Some(Effect::Destroy), Some(Work::Destroy))
                | (Some(Effect::Rest(_)), Some(Work::Rest))
        );
        assert!(fits, "{effect:?} with {:?}", after.work);
    } else {
        let reported = after.work.is_none();
        assert!(reported || after.work == before.work, "{:?} begins without an effect by {request:?}", after.work);
    }
}

/// Whether this reports the end of the work in flight: only then may other work begin (a rest may be cut short, a fetch given up).
fn reports(work: Option<&Work>, request: &Request) -> bool {
    match work {
        None | Some(Work::Rest | Work::Fetch) => true,
        Some(Work::Launch) => matches!(request, Request::Launched { .. } | Request::LaunchFailed(_)),
        Some(Work::Freeze) => matches!(request, Request::Frozen | Request::FreezeFailed(_)),
        Some(Work::Undo(_) | Work::Thaw) => matches!(request, Request::Thawed | Request::ThawFailed(_)),
        Some(Work::Stop) => matches!(request, Request::Stopped | Request::StopFailed(_)),
        Some(Work::Destroy) => matches!(request, Request::Destroyed | Request::DestroyFailed(_)),
    }
}

/// The good answer of the host to the work in flight.
fn good_report(work: &Work) -> Request {
    match work {
        Work::Fetch => Request::Fetched,
        Work::Launch => Request::Launched { notes: Vec::new() },
        Work::Freeze => Request::Frozen,
        Work::Undo(_) | Work::Thaw => Request::Thawed,
        Work::Stop => Request::Stopped,
        Work::Destroy => Request::Destroyed,
        Work::Rest => Request::Rested,
    }
}

fn step(state: &mut State, request: &Request, moment: u64, config: &LifecycleConfig) {
    let now = Now { boot_nanos: NOW.boot_nanos + moment, unix_nanos: NOW.unix_nanos + moment.cast_signed() };
    let context = Context { now, config, timeout: Some(HOUR) };
    if let Decision::Accept(next, effect) = decide(state, request, context) {
        check(state, request, &next, effect.as_ref());
        if next.work != state.work {
            assert!(reports(state.work.as_ref(), request), "{request:?} during {:?}", state.work);
        }
        *state = *next;
    }
}

proptest! {
    #[test]
    fn random_requests_keep_to_the_rules(picks in prop::collection::vec((0..32_usize, any::<bool>()), 1..200)) {
        let config = LifecycleConfig::default();
        let requests = requests();
        let mut state = state(Phase::Pending, Some(Work::Fetch));
        for (moment, (pick, finish)) in (1..).zip(picks) {
            let finished = state.work.as_ref().filter(|_| finish).map(good_report);
            let request = finished.unwrap_or_else(|| requests[pick].1.clone());
            step(&mut state, &request, moment, &config);
        }
        // From wherever that led, a delete and a host that works lead to the end.
        for moment in 1000..1020 {
            let finished = state.work.as_ref().map(good_report).unwrap_or(Request::Delete);
            step(&mut state, &finished, moment, &config);
        }
        prop_assert_eq!(state.phase(), Phase::Terminated);
        prop_assert!(state.removed && state.forget.is_some() && state.work.is_none());
    }

    #[test]
    fn what_a_daemon_leaves_can_be_taken_up(picks in prop::collection::vec(0..32_usize, 1..60), found in 22..29_usize) {
        let config = LifecycleConfig::default();
        let requests = requests();
        let mut state = state(Phase::Pending, Some(Work::Fetch));
        for (moment, pick) in (1..).zip(picks) {
            step(&mut state, &requests[pick].1, moment, &config);
        }
        state.work = None; // a new daemon
        step(&mut state, &requests[found].1, 100, &config);
        prop_assert!(state.work.is_some() || !matches!(state.phase(), Phase::Stopping) || found != 31);
    }
}
