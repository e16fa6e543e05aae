//! What the table cannot show: times, messages, what outlives a change.

use super::*;
use crate::model::OutOfMemory;

fn accepted(state: &State, request: &Request, config: &LifecycleConfig) -> State {
    match decide(state, request, context(config)) {
        Decision::Accept(next, _) => *next,
        other => panic!("{request:?} in {}: {other:?}", state.phase()),
    }
}

fn denied(state: &State, request: &Request, config: &LifecycleConfig) -> Refusal {
    match decide(state, request, context(config)) {
        Decision::Deny(refusal) => refusal,
        other => panic!("{request:?} in {}: {other:?}", state.phase()),
    }
}

#[test]
fn a_renewal_is_later_and_in_the_future() {
    let config = LifecycleConfig::default();
    let running = state(Phase::Running, None);
    let current = running.expiry.unwrap().deadline.unix_micros;
    let now = NOW.unix_micros();
    assert_eq!(denied(&running, &Request::Renew(now), &config), Refusal::ExpiryInPast);
    assert_eq!(denied(&running, &Request::Renew(i64::MIN), &config), Refusal::ExpiryInPast);
    assert_eq!(denied(&running, &Request::Renew(now + 1), &config), Refusal::ExpiryNotLater(current));
    assert_eq!(denied(&running, &Request::Renew(current), &config), Refusal::ExpiryNotLater(current));
    let renewed = accepted(&running, &Request::Renew(current + 1), &config);
    assert_eq!(renewed.expiry.unwrap().deadline.unix_micros, current + 1);
    let absurd = accepted(&running, &Request::Renew(i64::MAX), &config);
    assert!(absurd.expiry.unwrap().deadline.unix_micros > current);
}

#[test]
fn a_renewal_may_be_earlier_where_that_is_allowed() {
    let config = LifecycleConfig { allow_shorter_expiration: true, ..LifecycleConfig::default() };
    let running = state(Phase::Running, None);
    let soon = NOW.unix_micros() + 1_000_000;
    assert_eq!(accepted(&running, &Request::Renew(soon), &config).expiry.unwrap().deadline.unix_micros, soon);
    assert_eq!(denied(&running, &Request::Renew(NOW.unix_micros() - 1), &config), Refusal::ExpiryInPast);
}

#[test]
fn without_an_expiry_there_is_nothing_to_renew_and_nothing_expires() {
    let config = LifecycleConfig::default();
    for (name, with) in states() {
        let without = State { expiry: None, ..with };
        assert!(!matches!(without.alarm(), Some((_, Request::Expire))), "{name}");
        assert_eq!(decide(&without, &Request::Expire, context(&config)), Decision::Ignore, "{name}");
    }
    let running = State { expiry: None, ..state(Phase::Running, None) };
    assert_eq!(denied(&running, &Request::Renew(i64::MAX), &config), Refusal::NoExpiry);
}

#[test]
fn the_time_of_life_counts_from_the_first_moment_of_running() {
    let config = LifecycleConfig::default();
    let pending = state(Phase::Pending, Some(Work::Launch));
    assert!(pending.expiry.unwrap().provisional);
    assert_eq!(pending.alarm().map(|(deadline, _)| deadline), None);
    let late = Now { boot_nanos: NOW.boot_nanos + 5_000_000_000, unix_nanos: NOW.unix_nanos + 5_000_000_000 };
    let context = Context { now: late, ..context(&config) };
    let Decision::Accept(running, None) = decide(&pending, &Request::Launched { notes: vec![] }, context) else {
        panic!("not launched");
    };
    assert_eq!(running.expiry, Some(Expiry { deadline: expiry::after(late, HOUR), provisional: false }));
}

#[test]
fn a_renewal_while_pending_names_the_hour() {
    let config = LifecycleConfig::default();
    let hour = NOW.unix_micros() + 9_000_000_000;
    let pending = accepted(&state(Phase::Pending, Some(Work::Launch)), &Request::Renew(hour), &config);
    let running = accepted(&pending, &Request::Launched { notes: vec![] }, &config);
    assert_eq!(running.expiry.unwrap().deadline.unix_micros, hour);
    assert!(matches!(pending.alarm(), Some((_, Request::Expire))), "and it counts even while it is being made");
}

#[test]
fn an_end_is_told_in_words() {
    let config = LifecycleConfig::default();
    let oom = |exit| End { exit, oom: Some(OutOfMemory { kills: 2, limit: Some(4096) }), lost: false };
    let cases = [
        (end(Exit::Code(0)), Phase::Terminated, Reason::EntrypointExited, "exited with code 0"),
        (end(Exit::Code(3)), Phase::Failed, Reason::EntrypointExited, "exited with code 3"),
        (end(Exit::Signal(11)), Phase::Failed, Reason::EntrypointExited, "killed by signal 11 (SIGSEGV)"),
        (end(Exit::Signal(40)), Phase::Failed, Reason::EntrypointExited, "killed by signal 40"),
        (
            oom(Exit::Signal(9)),
            Phase::Failed,
            Reason::OomKilled,
            "2 processes of the sandbox for want of memory: its memory limit is 4096 bytes",
        ),
        (oom(Exit::Code(0)), Phase::Terminated, Reason::EntrypointExited, "want of memory"),
        (End { lost: true, ..end(Exit::Unknown) }, Phase::Failed, Reason::Lost, "nobody saw how"),
    ];
    for (end, phase, reason, words) in cases {
        let ended = accepted(&state(Phase::Running, None), &Request::Ended(end.clone()), &config);
        assert_eq!((ended.phase(), ended.status.reason), (phase, reason), "{end:?}");
        assert_eq!(ended.status.exit, Some(end.exit));
        assert!(ended.status.message.contains(words), "{}", ended.status.message);
    }
}

#[test]
fn how_it_ended_outlives_the_delete() {
    let config = LifecycleConfig::default();
    let ended = accepted(&state(Phase::Running, None), &Request::Ended(end(Exit::Code(3))), &config);
    let stopping = accepted(&ended, &Request::Delete, &config);
    assert_eq!((stopping.phase(), stopping.work.as_ref()), (Phase::Stopping, Some(&Work::Stop)));
    let stopping = accepted(&stopping, &Request::Stopped, &config);
    let gone = accepted(&stopping, &Request::Destroyed, &config);
    assert_eq!((gone.phase(), gone.status.reason), (Phase::Terminated, Reason::UserDelete));
    assert_eq!(gone.status.exit, Some(Exit::Code(3)));
    assert_eq!(gone.forget, Some(expiry::after(NOW, Duration::from_secs(60))));
}

#[test]
fn the_words_of_a_failed_pause_reach_the_user() {
    let config = LifecycleConfig::default();
    let undoing = accepted(&state(Phase::Pausing, Some(Work::Freeze)), &Request::FreezeFailed(error("EBUSY")), &config);
    let running = accepted(&undoing, &Request::Thawed, &config);
    assert_eq!((running.phase(), running.status.reason), (Phase::Running, Reason::PauseFailed));
    assert!(running.status.message.contains("EBUSY"), "{}", running.status.message);
    let stuck = accepted(&undoing, &Request::ThawFailed(error("EIO")), &config);
    assert_eq!((stuck.phase(), stuck.status.reason), (Phase::Paused, Reason::PauseFailed));
    assert!(stuck.status.message.contains("EBUSY") && stuck.status.message.contains("EIO"));
}

#[test]
fn notes_are_shown_whenever_it_runs() {
    let config = LifecycleConfig::default();
    let notes = vec!["pids is not limited".to_owned()];
    let running = accepted(&state(Phase::Pending, Some(Work::Launch)), &Request::Launched { notes }, &config);
    assert!(running.status.message.ends_with("note: pids is not limited"));
    let paused = accepted(&accepted(&running, &Request::Pause, &config), &Request::Frozen, &config);
    let resumed = accepted(&accepted(&paused, &Request::Resume, &config), &Request::Thawed, &config);
    assert!(resumed.status.message.ends_with("note: pids is not limited"));
}

#[test]
fn clean_up_is_tried_again_with_growing_delays() {
    let config = LifecycleConfig::default();
    let mut state = state(Phase::Stopping, Some(Work::Destroy));
    let mut rests = Vec::new();
    for _ in 0..40 {
        let failed = decide(&state, &Request::DestroyFailed(error("EBUSY")), context(&config));
        let Decision::Accept(resting, Some(Effect::Rest(time))) = failed else { panic!("no rest") };
        assert!(resting.status.message.contains("EBUSY"));
        assert_eq!(resting.status.since_unix_nanos, state.status.since_unix_nanos, "it is Stopping since then");
        rests.push(time);
        state = accepted(&resting, &Request::Rested, &config);
    }
    assert_eq!(rests[0], Duration::from_millis(100));
    assert!(rests.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(rests.last(), Some(&Duration::from_secs(60)));
}
